<%doc>
Attention's weights from scores (batch, rows, columns), contiguous: o0 = softmax(x * scale + mask) along the columns, and the gradient to the scores.

stage     forward: reads x, and the mask through strides (mask None, of bool: true takes part, or of a floating type: added)
          backward: from the gradient x and the result y, o0 = scale * y * (x - sum(x * y))
causal    row l sees columns 0 to l; the others are 0. A row that sees nothing (all -infinity) is 0, not NaN
wide      a work-item a range of rows; sums in LANES lanes (norm/row.mako)
grid      ``threads`` work-items (a power of two) a row, trees in local memory
Called by ops/attention.py.
</%doc>
<%! TUNABLES = dict(LANES=(32, 32, (16, 32, 64)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%namespace name="row" file="/norm/row.mako"/>
<%
  acc = dtype.acc
  A = acc.c
  forward = stage == "forward"
  exp, greatest = f"exp_{acc.s}", f"max_{acc.s}"
  again = dtype.is_half  # exp(v - top) is computed again rather than kept in the result: it would be rounded
  def score(at):
      value = f"{acc.cast(dtype, dtype.load('x', f'x_offset + {at}'))} * scale"
      if mask is None:
          return value
      place = f"hidden + ({at} - base) * mc"
      if mask.is_bool:
          return f"(mask[{place}] ? {value} : {acc.lowest})"
      return f"({value} + {acc.cast(mask, mask.load('mask', place))})"
  if forward:
      term = lambda at: f"{exp}({score(at)} - top)"
      result = lambda at: f"{term(at)} * share" if again else f"{dtype.load('o0', at)} * share"
  else:
      def both(at):
          return acc.cast(dtype, dtype.load("x", f"x_offset + {at}")), acc.cast(dtype, dtype.load("y", f"y_offset + {at}"))
      term = lambda at: "{} * {}".format(*both(at))
      result = lambda at: "{1} * ({0} - sum) * scale".format(*both(at))
  def put(at, value): return dtype.store("o0", at, dtype.cast(acc, value)) + ";"
%>
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void weights(__global ${dtype.storage} *restrict o0, __global const ${dtype.storage} *restrict x, const uint x_offset,
% if not forward:
             __global const ${dtype.storage} *restrict y, const uint y_offset,
% elif mask is not None:
             __global const ${mask.storage} *restrict mask, const long mo, const long m0, const long m1, const long mr, const long mc, const uint inner,
% endif
             const uint lines, const uint rows, const uint columns, ${", ".join(acc.scalar_parameters("scale"))}, const int causal, const uint threads)
{
<%def name="place()">
    const uint base = line * columns, n = causal ? min(columns, line % rows + 1) : columns;
% if forward and mask is not None:
    const uint z = line / rows;
    const long hidden = mo + z / inner * m0 + z % inner * m1 + line % rows * mr;
% endif
</%def>
% if wide:
  const uint share_ = lines / get_num_groups(0), extra = lines % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share_ + min(g, extra), stop = start + share_ + (g < extra);
  for (uint line = start; line < stop; line++) {
    ${place()}
% if forward:
    ${row.over(A, LANES, dict(top=(acc.lowest, row.module.GREATEST)), f"const {A} v = {score('at')}; top_[l] = v;")}
    if (top == ${acc.lowest}) {
      for (uint at = base; at < base + columns; at++) { ${put("at", acc.zero)} }
      continue;
    }
% endif
    ${row.over(A, LANES, dict(sum=("0", "a + b")), f"const {A} e = {term('at')}; {put('at', 'e') if forward and not again else ''} sum_[l] = e;")}
% if forward:
    const ${A} share = 1 / sum;
% endif
    for (uint at = base; at < base + n; at++) { ${put("at", result("at"))} }
    for (uint at = base + n; at < base + columns; at++) { ${put("at", acc.zero)} }
  }
% else:
  __local ${A} lds[${WG}];
  const uint lid = get_local_id(0), lane = lid & (threads - 1), together = ${WG} / threads;
  for (uint first = get_group_id(0) * together; first < lines; first += get_num_groups(0) * together) {
    const uint line = first + lid / threads;
    ${place()}
    const uint end = line < lines ? n : 0;
    ${A} r;
% if forward:
    r = ${acc.lowest};
    for (uint j = lane; j < end; j += threads) { const ${A} v = ${score("(base + j)")}; r = ((v > r) | (v != v)) ? v : r; }
    ${row.tree(A, "r", f"{greatest}(a, b)")}
    const ${A} top = r;
    const int none = top == ${acc.lowest};
% endif
    r = 0;
    for (uint j = lane; j < end; j += threads) r += ${"none ? 0 : " if forward else ""}${term("(base + j)")};
    ${row.tree(A, "r", "a + b")}
    const ${A} sum = r;
% if forward:
    const ${A} share = 1 / sum;
% endif
    for (uint j = lane; j < (line < lines ? columns : 0); j += threads) {
      const uint at = base + j;
      ${A} v = 0;
      if (j < n${" && !none" if forward else ""}) v = ${"%s * share" % term("at") if forward else result("at")};
      ${put("at", "v")}
    }
  }
% endif
}
