<%doc>
x[offset + outer(o) + a + inner(i)] = combine(that, every value[value_offset + (o, e, i)] with address[e] == a): one owner per element of x, values
in the order of e, so the result is the same on every run and needs no float atomics.

The kernel `owned` does the same in place where a table of (outer, n, inner) addresses is known to keep its lines along n apart (gather's and
scatter's are): a work-item owns whole lines, and nothing is sorted. Not for halves, whose sums are kept in float.

Called by ops/addressing.py for index_put(accumulate=True), index_add, scatter_add, scatter_reduce and the gradients of gathers.
dtype    of x and value      op   sum, prod, amax, amin, mean
outers, inners   number of outer and inner dimensions of x, sizes o<k>, i<k>, strides p<k>, q<k>; value is contiguous
key, order       the addresses sorted, and where in `value` each came from      start   1 combines with what x holds, 0 replaces it
</%doc>
<%
acc = dtype if op in ("amax", "amin") else dtype.acc
A = acc.c
last = inners - 1
nan = " || {v} != {v}" if dtype.is_float else ""  # a NaN wins
combine = {"sum": "{a} + {v}", "mean": "{a} + {v}", "prod": "{a} * {v}",
           "amax": "({v} > {a}" + nan + ") ? {v} : {a}", "amin": "({v} < {a}" + nan + ") ? {v} : {a}"}[op]
BLOCK = 64
%>
<%def name="parameters()">
__global ${dtype.storage} *restrict x, const uint offset, __global const ${dtype.storage} *restrict value, const uint value_offset,
  __global const int *restrict key, __global const long *restrict order, const uint entries, const int start
% for k in range(outers):
  , const uint o${k}, const uint p${k}
% endfor
% for k in range(inners):
  , const uint i${k}, const uint q${k}
% endfor
</%def>
## offset in x of the row of columns `line` (outer dimensions, inner dimensions but the last)
<%def name="locate(line)">
% for k in reversed(range(max(last, 0))):
    { const uint q = ${line} / i${k}; at += (${line} - q * i${k}) * q${k}; ${line} = q; }
% endfor
% for k in reversed(range(outers)):
    { const uint q = ${line} / o${k}; at += (${line} - q * o${k}) * p${k}; ${line} = q; }
% endfor
</%def>
<%def name="finish(target, value)">
% if op == "mean" and acc.is_integral:
    const ${A} share = (${A})count, quotient = ${value} / share;
    const ${A} result = quotient - (${value} % share != 0 && ${value} < 0);
% elif op == "mean":
    const ${A} result = ${value} / (${acc.real.c})count;
% else:
    const ${A} result = ${value};
% endif
    ${dtype.store("x", target, dtype.cast(acc, "result"))};
</%def>
<%def name="add(entry)">
      {
        const uint entry = ${entry};
        __global ${dtype.storage} *to = x + (offset + (uint)address[entry]);
        const ${A} a = ${acc.cast(dtype, dtype.load("to", "0"))}, v = ${acc.cast(dtype, dtype.load("value", "value_offset + entry"))};
        const ${A} result = ${combine.format(a="a", v="v")};
        ${dtype.store("to", "0", dtype.cast(acc, "result"))};
      }
</%def>
% if owned:
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void owned(__global ${dtype.storage} *restrict x, const uint offset, __global const ${dtype.storage} *restrict value, const uint value_offset,
           __global const int *restrict address, const uint outer, const uint n, const uint inner)
{
  const uint lines = outer * inner, per = (lines + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  uint line = (uint)get_group_id(0) * per;
  const uint stop = line + per < lines ? line + per : lines;
  while (line < stop) {
    const uint o = line / inner, column = line - o * inner, left = inner - column, width = left < stop - line ? left : stop - line;
    const uint first = o * n * inner + column;
    if (width == 1)
      for (uint e = 0; e < n; e++) ${add("first + e * inner")}
    else
      for (uint e = 0; e < n; e++)
        for (uint c = 0; c < width; c++) ${add("first + e * inner + c")}
    line += width;
  }
}
% else:
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void accumulate(${parameters()})
{
  uint outer = 1, inner = 1, length = 1;
% for k in range(outers):
  outer *= o${k};
% endfor
% for k in range(last):
  inner *= i${k};
% endfor
% if inners:
  length = i${last};
% endif
<% step = f"q{last}" if inners else "0" %>
% if wide:
  const uint per = (entries + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  uint from = (uint)get_group_id(0) * per;
  const uint stop = from + per < entries ? from + per : entries;
  while (from > 0 && from < stop && key[from] == key[from - 1]) from++;  // an address belongs to whom its first entry falls
  while (from < stop) {
    uint to = from + 1;
    while (to < entries && key[to] == key[from]) to++;
    const uint count = to - from + (start != 0);
    for (uint row = 0; row < outer * inner; row++) {
      uint line = row, at = offset + (uint)key[from];
      ${locate("line")}
      const uint o = row / inner, m = row - o * inner;
      for (uint first = 0; first < length; first += ${BLOCK}) {
        const uint n = length - first < ${BLOCK} ? length - first : ${BLOCK};
        ${A} sums[${BLOCK}];
        uint j = from;
        if (start) {
          for (uint c = 0; c < n; c++) sums[c] = ${acc.cast(dtype, dtype.load("x", f"at + (first + c) * {step}"))};
        } else {
          const uint base = value_offset + ((o * entries + (uint)order[j]) * inner + m) * length + first;
          for (uint c = 0; c < n; c++) sums[c] = ${acc.cast(dtype, dtype.load("value", "base + c"))};
          j++;
        }
        for (; j < to; j++) {
          const uint base = value_offset + ((o * entries + (uint)order[j]) * inner + m) * length + first;
          for (uint c = 0; c < n; c++) {
            const ${A} v = ${acc.cast(dtype, dtype.load("value", "base + c"))};
            sums[c] = ${combine.format(a="sums[c]", v="v")};
          }
        }
        for (uint c = 0; c < n; c++) {
          ${finish(f"at + (first + c) * {step}", "sums[c]")}
        }
      }
    }
    from = to;
  }
% else:
  const uint lines = outer * inner, total = entries * lines * length;
  for (uint i = get_global_id(0); i < total; i += get_global_size(0)) {
    const uint c = i % length, row = i / length % lines, from = i / length / lines;
    if (from > 0 && key[from] == key[from - 1]) continue;
    uint line = row, at = offset + (uint)key[from] + c * ${step};
    ${locate("line")}
    const uint o = row / inner, m = row - o * inner;
    uint j = from;
    ${A} sum;
    if (start) {
      sum = ${acc.cast(dtype, dtype.load("x", "at"))};
    } else {
      sum = ${acc.cast(dtype, dtype.load("value", "value_offset + ((o * entries + (uint)order[j]) * inner + m) * length + c"))};
      j++;
    }
    for (; j < entries && key[j] == key[from]; j++) {
      const ${A} v = ${acc.cast(dtype, dtype.load("value", "value_offset + ((o * entries + (uint)order[j]) * inner + m) * length + c"))};
      sum = ${combine.format(a="sum", v="v")};
    }
    const uint count = j - from + (start != 0);
    ${finish("at", "sum")}
  }
% endif
}
% endif
