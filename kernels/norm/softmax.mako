<%doc>
Softmax or log-softmax along the middle dim of a contiguous (outer, n, inner) tensor, and their gradients.

stage     forward: o0 = exp(x - max) / sum, or log: x - max - log(sum)
          backward: from the gradient x and the result y, o0 = y * (x - sum(x * y)), or log: x - exp(y) * sum(x)
columns   False: inner is 1. True: inner > 1, lanes run over it
wide      a work-item a range of rows, or of tiles of TILE columns; sums in LANES lanes, joined every 64 * LANES elements
grid      rows: `threads` work-items (a power of two) a row, trees in local memory; columns: a work-item a column
Called by ops/softmax.py.
</%doc>
<%! TUNABLES = dict(LANES=(32, 32, (16, 32, 64)), TILE=(256, 256, (64, 128, 256, 512)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%namespace name="row" file="row.mako"/>
<%
  A = acc.c
  forward = stage == "forward"
  exp, log_of, greatest = f"exp_{acc.s}", f"log_{acc.s}", f"max_{acc.s}"
  again = log or out.is_half  # exp(x - max) is computed again rather than kept in the result: it would be rounded
  # A chain's numbers wait where the result will be, where it has room for them: so each is computed once
  parked = dtype.chained and not out.is_half and dtype.name == out.name
  def x_first(at): return acc.cast(dtype, dtype.load("x", f"x_offset + {at}"))
  def x_at(at): return out.load("o0", at) if parked else x_first(at)
  def y_at(at): return acc.cast(out, out.load("y", f"y_offset + {at}"))
  def put(at, value): return out.store("o0", at, out.cast(acc, value)) + ";"
  def park(at): return put(at, "v") if parked else ""
  def look(at): return f"const {A} v = {x_first(at)}; {park(at)}"  # in the first pass over x
  def term(at):
      if forward:
          return f"const {A} e = {exp}({x_at(at)} - top);"
      return f"{look(at)} const {A} e = v{'' if log else f' * {y_at(at)}'};"
  def result(at):
      if not forward:
          return f"{x_at(at)} - {exp}({y_at(at)}) * sum" if log else f"{y_at(at)} * ({x_at(at)} - sum)"
      if log:
          return f"{x_at(at)} - top - scale"
      return f"{exp}({x_at(at)} - top) * scale" if again else f"{out.load('o0', at)} * scale"
  keep = forward and not again
%>
${dtype.definition("x")}
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void softmax(__global ${out.storage} *restrict o0, ${dtype.parameters("x")}, const uint x_offset,
% if not forward:
             __global const ${out.storage} *restrict y, const uint y_offset,
% endif
             const uint outer, const uint n, const uint inner, const uint threads)
{
% if not columns:
%   if wide:
  const uint share = outer / get_num_groups(0), extra = outer % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
  for (uint line = start; line < stop; line++) {
    const uint base = line * n;
%     if forward:
    ${row.over(A, LANES, dict(top=(acc.lowest, row.module.GREATEST)),
               f"{look('at')} top_[l] = v;", True)}
%     endif
    ${row.over(A, LANES, dict(sum=("0", "a + b")), f"{term('at')} {put('at', 'e') if keep else ''} sum_[l] = e;", True)}
%     if forward:
    const ${A} scale = ${f"{log_of}(sum)" if log else "1 / sum"};
%     endif
    ${row.vectors(A, True, 4)}
    for (uint j = 0; j < n; j++) { const size_t at = (size_t)base + j; ${put("at", result("at"))} }
  }
%   else:
  __local ${A} lds[${WG}];
  const uint lid = get_local_id(0), lane = lid & (threads - 1), together = ${WG} / threads;
  for (uint first = get_group_id(0) * together; first < outer; first += get_num_groups(0) * together) {
    const uint line = first + lid / threads, base = line * n, end = line < outer ? n : 0;
    ${A} r;
%     if forward:
    r = ${acc.lowest};
    for (uint j = lane; j < end; j += threads) { ${look("base + j")} r = ((v > r) | (v != v)) ? v : r; }
    ${row.tree(A, "r", f"{greatest}(a, b)")}
    const ${A} top = r;
%     endif
    r = 0;
    for (uint j = lane; j < end;) {
      ${A} near = 0;
      for (uint k = 0; k < 64 && j < end; k++, j += threads) { ${term("base + j")} near += e; }
      r += near;
    }
    ${row.tree(A, "r", "a + b")}
    const ${A} sum = r;
%     if forward:
    const ${A} scale = ${f"{log_of}(sum)" if log else "1 / sum"};
    for (uint j = lane; j < end; j += threads) { const uint at = base + j; ${put("at", f"{x_at('at')} - top - scale" if log else f"{exp}({x_at('at')} - top) * scale")} }
%     else:
    for (uint j = lane; j < end; j += threads) { const uint at = base + j; ${put("at", result("at"))} }
%     endif
  }
%   endif
% elif wide:
  const uint tiles = (inner + ${TILE} - 1) / ${TILE}, tasks = outer * tiles;
  const uint share = tasks / get_num_groups(0), extra = tasks % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
  ${A} top_[${TILE}], sum_[${TILE}];
  for (uint task = start; task < stop; task++) {
    const uint tile = task % tiles, c0 = tile * ${TILE}, width = min(inner - c0, ${TILE}u), base = task / tiles * n * inner + c0;
    for (uint l = 0; l < width; l++) { top_[l] = ${acc.lowest}; sum_[l] = 0; }
%   if forward:
    for (uint k = 0; k < n; k++)
      for (uint l = 0; l < width; l++) { ${look("base + k * inner + l")} top_[l] = ((v > top_[l]) | (v != v)) ? v : top_[l]; }
%   endif
    for (uint k = 0; k < n; k++)
      for (uint l = 0; l < width; l++) {
        const uint at = base + k * inner + l;
        const ${A} top = top_[l];
        ${term("at")}
%   if keep:
        ${put("at", "e")}
%   endif
        sum_[l] += e;
      }
%   if forward:
    for (uint l = 0; l < width; l++) sum_[l] = ${f"{log_of}(sum_[l])" if log else "1 / sum_[l]"};
%   endif
    for (uint k = 0; k < n; k++)
      for (uint l = 0; l < width; l++) {
        const uint at = base + k * inner + l;
        const ${A} top = top_[l], ${"scale" if forward else "sum"} = sum_[l];
        ${put("at", result("at"))}
      }
  }
% else:
  for (uint task = get_global_id(0); task < outer * inner; task += get_global_size(0)) {
    const uint base = task / inner * n * inner + task % inner;
    ${A} top = ${acc.lowest}, sum = 0;
%   if forward:
    for (uint k = 0; k < n; k++) { ${look("base + k * inner")} top = ((v > top) | (v != v)) ? v : top; }
%   endif
    for (uint k = 0; k < n; k++) {
      const uint at = base + k * inner;
      ${term("at")}
%   if keep:
      ${put("at", "e")}
%   endif
      sum += e;
    }
%   if forward:
    const ${A} scale = ${f"{log_of}(sum)" if log else "1 / sum"};
%   endif
    for (uint k = 0; k < n; k++) { const uint at = base + k * inner; ${put("at", result("at"))} }
  }
% endif
}
