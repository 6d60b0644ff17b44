<%doc>
Each output reduces `count` elements whose innermost run lies densely (unit) or evenly spaced: all of a tensor, its last dims, any
collapsed form with the smallest stride on a reduced dim. There are outputs * splits tasks: slice t % splits of output t / splits.

kept      rank of the kept dims (sizes kn, strides ks, strides of the result ko); reduced: rank of the reduced dims (rn, rs)
wide      a work-item takes a range of tasks. Blocks of up to 64 * LANES elements are summed in LANES lanes, and blocks are
          joined as a binary counter does (equal sizes with equal sizes), so that errors grow with the logarithm of `count`
chained   a chain computes the elements: (wide) a block of them at a time, so that this loop is like any chain's, and is there once
quartets  (wide, values, dense rows) four short rows at a time, a quarter of the work-item's rows apart, in 16 lanes each
grid      `threads` work-items (a power of two) a task, then a tree in local memory; a work-item joins every 64 elements
See accumulator.mako for what is carried. Called by ops/reduce_plan.py.
</%doc>
<%! TUNABLES = dict(LANES=(64, 64, (16, 32, 64, 128)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%! from cltorch.codegen.expression import translate %>
<%namespace name="on" file="accumulator.mako"/>
<%
  step = "" if unit else f" * rs{reduced - 1}"
  shifted = " - shift" if kind == "moments" else ""
%>
${dtype.definition('data')}
${on.declare()}

## for lane l and element v at place nth of the block: LANES at once, in four pieces ``far`` apart (the memory delivers four streams faster than one),
## then 16, then what is left. Places are signed and count from the block's start: unsigned ones may wrap for all that the compiler knows, and the
## lanes would stay in memory
<%def name="sweep(body)">
      {
        const int size = (int)length;
        int j = size / ${LANES} * ${LANES};
        for (int i = 0; i < j / 4; i += ${LANES // 4}) {
% for stream in range(4):
          for (int k = 0; k < ${LANES // 4}; k++) {
            const int l = ${stream * LANES // 4} + k, nth = ${stream} * (int)far + i + k;
            ${element("v", "nth")} ${body}
          }
% endfor
        }
        for (; j + 16 <= size; j += 16)
          for (int l = 0; l < 16; l++) { const int nth = j + l; ${element("v", "nth")} ${body} }
        for (int l = 0; j + l < size; l++) { const int nth = j + l; ${element("v", "nth")} ${body} }
      }
</%def>

<%def name="fold(body)">
      for (uint w = length >= ${LANES} ? ${LANES // 2} : 8; w > 0; w /= 2)
        for (uint l = 0; l < w; l++) { ${body} }
</%def>

<%def name="element(target, nth)">${on.element(target, nth if dtype.chained else f"line + {nth}{step}", dtype.chained)}</%def>

## r = the accumulator of `length` elements from `from` on, the first of which has index `first`
<%def name="block()">
      acc_t r;
      const long line = from;
% if dtype.chained:
#pragma clang loop interleave_count(4)
      for (int nth = 0; nth < (int)length; nth++) held[nth] = ${dtype.load("data", f"line + nth{step}")};
% endif
      const uint live = length >= ${LANES} ? ${LANES} : 16;
% if kind == "moments":
      ${acc.c} s_[${LANES}], q_[${LANES}];
      for (uint l = 0; l < live; l++) s_[l] = 0;
      ${sweep("s_[l] += v - shift;")}
      ${fold("s_[l] += s_[l + w];")}
      const ${acc.c} n = length, mean = s_[0] / n;
      for (uint l = 0; l < live; l++) s_[l] = q_[l] = 0;
      ${sweep(f"const {acc.c} d = v - shift - mean; s_[l] += d; q_[l] += d * d;")}
      ${fold("s_[l] += s_[l + w]; q_[l] += q_[l + w];")}
      const ${acc.c} rest = s_[0] / n;
      r = (acc_t){mean + rest, q_[0] - s_[0] * rest, n};
% else:
      if (length < 16) {
        r = acc_none();
        for (uint j = 0; j < length; j++) { ${element("v", "j")} r = acc_add(r, v, first + j); }
      } else {
        ${acc.c} a_[${LANES}];
%   if kind == "value":
        for (uint l = 0; l < live; l++) a_[l] = ${on.start()};
        ${sweep(f"const {acc.c} a = a_[l], b = v; a_[l] = {translate(combine, acc)};")}
        ${fold(f"const {acc.c} a = a_[l], b = a_[l + w]; a_[l] = {translate(combine, acc)};")}
        r = ACC_ONE(a_[0], 0);
%   else:
        uint i_[${LANES}];
        for (uint l = 0; l < live; l++) { a_[l] = ${on.start()}; i_[l] = first + l; }
        ${sweep("const int take = replaces(a_[l], v); a_[l] = take ? v : a_[l]; i_[l] = take ? first + nth : i_[l];")}
        ${fold("const acc_t m = acc_merge(ACC_ONE(a_[l], i_[l]), ACC_ONE(a_[l + w], i_[l + w])); a_[l] = m.a; i_[l] = m.i;")}
        r = ACC_ONE(a_[0], i_[0]);
%   endif
      }
% endif
</%def>

## Where the rows don't divide by four some are done twice.
<%def name="short_rows()">
    const uint apart = (stop - start + 3) / 4;
    for (uint t = start; t < start + apart; t++) {
      ${acc.c} a_[64];
      for (int l = 0; l < 64; l++) a_[l] = ${on.start()};
% for s in range(4):
      const uint row${s} = min(t + ${s} * apart, stop - 1);
      uint base${s} = offset, place${s} = 0;
      ${on.unravel(f"row{s}", "k", kept, f"base{s}", f"place{s}")}
      const long line${s} = base${s};
% endfor
      for (int nth = 0; nth < (int)count; nth += 16) {
% for s in range(4):
        for (int k = 0; k < 16; k++) {
          ${on.element("b", f"line{s} + nth + k")} const ${acc.c} a = a_[${16 * s} + k]; a_[${16 * s} + k] = ${translate(combine, acc)};
        }
% endfor
      }
      for (int w = 8; w > 0; w /= 2)
        for (int s = 0; s < 64; s += 16)
          for (int k = s; k < s + w; k++) { const ${acc.c} a = a_[k], b = a_[k + w]; a_[k] = ${translate(combine, acc)}; }
% for s in range(4):
      { const acc_t r = ACC_ONE(a_[${16 * s}], 0); ${on.write("r", f"place{s}", f"row{s}", "count")} }
% endfor
    }
</%def>

__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void rows(${dtype.parameters('data')}, ${on.results()}, const uint offset, const uint outputs, const uint splits,
          const uint count, const uint threads${on.dims("k", kept, True)}${on.dims("r", reduced, False)}${on.numbers()})
{
  const uint tasks = outputs * splits, per = (count + splits - 1) / splits;
% if wide:
  const uint share = tasks / get_num_groups(0), extra = tasks % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
% if quartets:
  ${short_rows()}
% else:
  for (uint task = start; task < stop; task++) {
    const uint output = task / splits, lo = (task - output * splits) * per, hi = min(count, lo + per);
    uint base = offset, place = 0;
    ${on.unravel("output", "k", kept, "base", "place")}
    ${on.shift("base")}
    acc_t stack[32];
    uint blocks = 0;
%   if dtype.chained:
    ${dtype.c} held[${64 * LANES}];
%   endif
%   if reduced == 1:
    const uint apart = ${"0" if dtype.chained else f"(hi - lo) / {64 * LANES} * {16 * LANES}"};
    for (uint at = lo; at < hi;) {
      const int pieces = at < lo + apart;
      const uint from = base + at${step}, left = hi - at, length = min(left, ${64 * LANES}u), first = at;
      const uint far = pieces ? apart : length / ${LANES} * ${LANES // 4};
%   else:
    for (uint at = lo; at < hi;) {
      uint from = base;
      ${on.unravel("at", "r", reduced, "from")}
      const uint left = min(rn${reduced - 1} - at % rn${reduced - 1}, hi - at), length = min(left, ${64 * LANES}u), first = at;
      const uint far = length / ${LANES} * ${LANES // 4};
%   endif
      ${block()}
      uint level = 0;
      for (uint k = blocks++; k & 1; k >>= 1) r = acc_merge(stack[level++], r);
      stack[level] = r;
%   if reduced == 1:
      at += pieces ? ${16 * LANES} : length;
      if (pieces && at == lo + apart) at = lo + 4 * apart;  // what the four pieces leave
%   else:
      at += length;
%   endif
    }
    acc_t r = acc_none();
    for (uint k = blocks, level = 0; k; k >>= 1, level++)
      if (k & 1) r = acc_merge(stack[level], r);
    ${on.write("r", "place", "task", "count")}
  }
% endif
% else:
  __local acc_t lds[${WG}];
  const uint lid = get_local_id(0), lane = lid & (threads - 1), together = ${WG} / threads;
  for (uint first = get_group_id(0) * together; first < tasks; first += get_num_groups(0) * together) {
    const uint task = first + lid / threads, output = task / splits;
    const uint lo = (task - output * splits) * per, hi = task < tasks ? min(count, lo + per) : 0;
    uint base = offset, place = 0;
    ${on.unravel("output", "k", kept, "base", "place")}
    ${on.shift("base", "lo < hi")}
    acc_t r = acc_none();
    for (uint at = lo + lane; at < hi;) {
      acc_t near = acc_none();
      for (uint k = 0; k < 64 && at < hi; k++, at += threads) {
        uint from = base;
        ${on.unravel("at", "r", reduced, "from")}
        ${on.element("v", "from")}
        near = acc_add(near, v${shifted}, at);
      }
      r = acc_merge(r, near);
    }
    ${on.tree("threads", "1", "lane")}
    r = lds[lid];
    if (lane == 0 && task < tasks) {
      ${on.write("r", "place", "task", "count")}
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
% endif
}
