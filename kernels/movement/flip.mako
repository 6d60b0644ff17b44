<%doc>
out[i] = x at signed strides: the one copy whose strides may be negative (flip, rot90). out is contiguous.
Called by ops/movement.py; elements are moved as raw bits.

raw    C type of an element's bits      rank   number of dimensions
d<k>   size of dimension k              t<k>   its stride in x, in elements      offset   of x's element (0, 0, ...)
Places are counted modulo 2^32, so that an offset may exceed 2^31 and a stride be negative.
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void flip(__global ${raw} *restrict out, __global const ${raw} *restrict x, const uint offset, const uint n
% for k in range(rank):
  , const uint d${k}, const int t${k}
% endfor
)
{
<%def name="locate(row)">
% for k in reversed(range(rank - 1)):
      { const uint q = ${row} / d${k}; at += (${row} - q * d${k}) * (uint)t${k}; ${row} = q; }
% endfor
</%def>
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  uint i = (uint)get_group_id(0) * per;
  const uint hi = i + per < n ? i + per : n;
  while (i < hi) {
    uint row = i / d${rank - 1};
    const uint c = i - row * d${rank - 1}, left = d${rank - 1} - c, length = left < hi - i ? left : hi - i;
    uint at = offset + c * (uint)t${rank - 1};
    ${locate("row")}
    __global const ${raw} *from = x + at;
    if (t${rank - 1} == -1)
      for (uint j = 0; j < length; j++) out[i + j] = from[-(int)j];
    else
      for (uint j = 0; j < length; j++) out[i + j] = from[(long)(int)j * t${rank - 1}];
    i += length;
  }
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    uint row = i / d${rank - 1};
    uint at = offset + (i - row * d${rank - 1}) * (uint)t${rank - 1};
    ${locate("row")}
    out[i] = x[at];
  }
% endif
}
