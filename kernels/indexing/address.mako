<%doc>
out[i] = base(i) + sum over k of index_k(i) * step<k>: the element offset that a position of an indexed result reads or writes.
With wrap, negative indices count from the end. An index out of bounds is taken as 0 (so that no kernel that follows reads outside) and
reported: the first one to find flags[0] == 0 writes (1, dim, size, low and high half of the index).
The kernel `read` writes the element of x that lies at data0 + that offset instead: one launch and no table where each index names one element.
Called by ops/addressing.py.

index    type of the index tensors      count   how many of them      rank   dimensions of the result, sizes d<axis>
raw      read: C type of an element's bits; empty for addresses
b<axis>  stride of base                 t<k>_<axis>  stride of index tensor k      limit<k>, dim<k>  size and number of its dimension
</%doc>
<%
  itemsize = {"uchar": 1, "ushort": 2, "uint": 4, "ulong": 8}.get(raw, 0)
  ahead = wide and itemsize and count == 1 and rank > 1
%>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
% if raw:
void read(__global ${raw} *restrict out, __global const ${raw} *restrict data, const uint data0,
% else:
void address(__global int *restrict out,
% endif
    volatile __global int *flags, const uint n, const int wrap
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
<% last, found = rank - 1, (lambda a: f"data[data0 + {a}]" if raw else f"(int){a}") %>
## where a row begins: base, and in index tensor k at i<k>
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
## adds the part of each index to `a`, whatever the index is
<%def name="resolve(column)">
% for k in range(count):
      {
        const long given = (long)p${k}[i${k} + ${column} * t${k}_${last}], v = given < 0 && wrap ? given + (long)limit${k} : given;
        if (v >= 0 && v < (long)limit${k}) {
          a += (uint)v * step${k};
        } else if (atomic_cmpxchg(flags, 0, 1) == 0) {
          flags[1] = dim${k};
          flags[2] = (int)limit${k};
          flags[3] = (int)(uint)((ulong)given & 0xffffffffUL);
          flags[4] = (int)(uint)((ulong)given >> 32);
        }
      }
% endfor
</%def>
## from j = 0 to width: as long as no index needs more than to be added. What one that does would read isn't there: it reads its first.
<%def name="add_inside(straight)">
        for (uint j = 0; j < width; j++) {
          uint a = base + (first + j) * b${last};
% for k in range(count):
          const ulong v${k} = (ulong)(long)from${k}[${"j" if straight else f"j * t{k}_{last}"}];
          far |= v${k} >= (ulong)limit${k};
          a += (v${k} < (ulong)limit${k} ? (uint)v${k} : 0) * step${k};
% endfor
          to[j] = ${found("a")};
        }
</%def>
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  uint i = (uint)get_group_id(0) * per;
  const uint hi = i + per < n ? i + per : n;
% if ahead:
  const int along = b${last} == 0 && step0 == 1 && limit0 <= 2 * d${last};
% endif
  while (i < hi) {
    uint row = i / d${last};
    const uint c = i - row * d${last}, left = d${last} - c, length = left < hi - i ? left : hi - i;
    ${origin("row", "c")}
    for (uint first = 0; first < length; first += 64) {
      const uint width = length - first < 64 ? length - first : 64;
      __global ${raw or "int"} *restrict to = out + i + first;
      int far = 0;
## A row that is read here and there is brought into the cache while the one before it is at work: nothing else would see its lines coming. With PoCL:
## others were not tried, and Oclgrind can't run a program with this instruction.
% if ahead:
#ifdef POCL_DEVICE_ADDRESS_BITS
      if (along)
        for (uint x = first; x < first + 64 && x < limit0; x += ${64 // itemsize})
          __builtin_prefetch((const void *)(size_t)(data + data0 + base + b${last - 1} + x));
#endif
% endif
% for k in range(count):
      __global const ${index.storage} *restrict from${k} = p${k} + i${k} + first * t${k}_${last};
% endfor
      if (${" && ".join(f"t{k}_{last} == 1" for k in range(count)) or "1"}) {
        ${add_inside(True)}
      } else {
        ${add_inside(False)}
      }
      for (uint j = 0; far && j < width; j++) {
        uint a = base + (first + j) * b${last};
        ${resolve("(first + j)")}
        to[j] = ${found("a")};
      }
    }
    i += length;
  }
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    uint row = i / d${last};
    const uint c = i - row * d${last};
    ${origin("row", "c")}
    uint a = base;
    ${resolve("0")}
    out[i] = ${found("a")};
  }
% endif
}
