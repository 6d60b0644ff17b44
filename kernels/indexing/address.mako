<%doc>
out[i] = base(i) + sum over k of index_k(i) * step<k>: the element offset that a position of an indexed result reads or writes.
With wrap, negative indices count from the end. An index out of bounds is taken as 0 (so that no kernel that follows reads outside) and
reported: the first one to find flags[0] == 0 writes (1, dim, size, low and high half of the index).
Called by ops/indexing.py and ops/scatter.py.

index    type of the index tensors      count   how many of them      rank   dimensions of the result, sizes d<axis>
b<axis>  stride of base                 t<k>_<axis>  stride of index tensor k      limit<k>, dim<k>  size and number of its dimension
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void address(__global int *restrict out, volatile __global int *flags, const uint n, const int wrap
% for axis in range(rank):
  , const uint d${axis}, const uint b${axis}
% endfor
% for k in range(count):
  , __global const ${index.storage} *restrict p${k}, const uint f${k}, const uint limit${k}, const uint step${k}, const int dim${k}
%   for axis in range(rank):
  , const uint t${k}_${axis}
%   endfor
% endfor
)
{
<% last = rank - 1 %>
<%def name="origin(row, column)">
    uint base = ${column} * b${last};
% for k in range(count):
    uint i${k} = f${k} + ${column} * t${k}_${last};
% endfor
% for axis in reversed(range(last)):
    {
      const uint q = ${row} / d${axis}, x = ${row} - q * d${axis};
      ${row} = q;
      base += x * b${axis};
%   for k in range(count):
      i${k} += x * t${k}_${axis};
%   endfor
    }
% endfor
</%def>
<%def name="resolve(at, bad)">
% for k in range(count):
      {
        long v = (long)p${k}[i${k}${at(k)}];
        v += v < 0 && wrap ? (long)limit${k} : 0;
        const int inside = v >= 0 && v < (long)limit${k};
        ${bad} |= !inside;
        a += (inside ? (uint)v : 0) * step${k};
      }
% endfor
</%def>
<%def name="report(at)">
% for k in range(count):
      {
        const long v = (long)p${k}[i${k}${at(k)}];
        if ((v < (wrap ? -(long)limit${k} : 0) || v >= (long)limit${k}) && atomic_cmpxchg(flags, 0, 1) == 0) {
          flags[1] = dim${k};
          flags[2] = (int)limit${k};
          flags[3] = (int)(uint)((ulong)v & 0xffffffffUL);
          flags[4] = (int)(uint)((ulong)v >> 32);
        }
      }
% endfor
</%def>
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  uint i = (uint)get_group_id(0) * per;
  const uint hi = i + per < n ? i + per : n;
  while (i < hi) {
    uint row = i / d${last};
    const uint c = i - row * d${last}, left = d${last} - c, length = left < hi - i ? left : hi - i;
    ${origin("row", "c")}
    int bad = 0;
    for (uint j = 0; j < length; j++) {
      uint a = base + j * b${last};
      ${resolve(lambda k: f" + j * t{k}_{last}", "bad")}
      out[i + j] = (int)a;
    }
    if (bad)
      for (uint j = 0; j < length; j++) {
        ${report(lambda k: f" + j * t{k}_{last}")}
      }
    i += length;
  }
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    uint row = i / d${last};
    const uint c = i - row * d${last};
    ${origin("row", "c")}
    int bad = 0;
    uint a = base;
    ${resolve(lambda k: "", "bad")}
    out[i] = (int)a;
    if (bad) {
      ${report(lambda k: "")}
    }
  }
% endif
}
