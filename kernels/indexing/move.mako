<%doc>
The rows of x that a list of addresses names: take reads them into a contiguous tensor, put writes them (which of several writes to the
same element stays is not defined, as in PyTorch).

    take: out[o, e, i] = x[offset + outer(o) + address[e] + inner(i)]      put: the same, the other way round

Called by ops/indexing.py; elements are moved as raw bits.
raw      C type of an element's bits      outers, inners   number of outer and inner dimensions, sizes o<k>, i<k>, strides in x p<k>, q<k>
repeat   put: 0 writes the value's first element everywhere, 1 element by element
</%doc>
<%def name="parameters()">
const uint offset, __global const int *restrict address, const uint entries, const uint n
% for k in range(outers):
  , const uint o${k}, const uint p${k}
% endfor
% for k in range(inners):
  , const uint i${k}, const uint q${k}
% endfor
</%def>
<% last = inners - 1 %>
## adds to `at` the outer dimensions' part for their row-major number `row`
<%def name="outer(row)">
% for k in reversed(range(1, outers)):
    { const uint q = ${row} / o${k}; at += (${row} - q * o${k}) * p${k}; ${row} = q; }
% endfor
% if outers:
    at += ${row} * p0;
% endif
</%def>
## adds to `at` where result row `row` starts: inner dimensions but the last run fastest, then entries, then outer dimensions
<%def name="locate(row)">
% for k in reversed(range(last)):
    { const uint q = ${row} / i${k}; at += (${row} - q * i${k}) * q${k}; ${row} = q; }
% endfor
% if outers:
    { const uint q = ${row} / entries; at += (uint)address[${row} - q * entries]; ${row} = q; }
    ${outer(row)}
% else:
    at += (uint)address[${row}];
% endif
</%def>
<%def name="rows(unit)">
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  uint i = (uint)get_group_id(0) * per;
  const uint hi = i + per < n ? i + per : n;
%   if inners:
  while (i < hi) {
    uint row = i / i${last};
    const uint c = i - row * i${last}, left = i${last} - c, length = left < hi - i ? left : hi - i;
    uint at = offset + c * q${last};
    ${locate("row")}
    if (q${last} == 1)
      for (uint j = 0; j < length; j++) ${unit("(size_t)at + j", "(size_t)i + j")};
    else
      for (uint j = 0; j < length; j++) ${unit(f"at + j * q{last}", "i + j")};
    i += length;
  }
%   else:
  while (i < hi) {
    uint row = i / entries, at = offset;
    const uint c = i - row * entries, left = entries - c, length = left < hi - i ? left : hi - i;
    ${outer("row")}
    for (uint j = 0; j < length; j++) ${unit("at + (uint)address[c + j]", "i + j")};
    i += length;
  }
%   endif
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
%   if inners:
    uint row = i / i${last};
    uint at = offset + (i - row * i${last}) * q${last};
%   else:
    uint row = i, at = offset;
%   endif
    ${locate("row")}
    ${unit("at", "i")};
  }
% endif
</%def>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void take(__global ${raw} *restrict out, __global const ${raw} *restrict x, ${parameters()})
{
${rows(lambda at, i: f"out[{i}] = x[{at}]")}
}

__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void put(__global ${raw} *restrict x, __global const ${raw} *restrict value, const uint value_offset, const uint repeat, ${parameters()})
{
${rows(lambda at, i: f"x[{at}] = value[value_offset + repeat * ({i})]")}
}
