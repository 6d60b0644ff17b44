<%doc>
Stable radix sort of long rows, several parts of a row at once. Per digit of DIGIT bits, three launches: count each part's digits, one
prefix sum per row over (digit, part), scatter each part in order. `begin` makes keys and places, `finish` writes values and indices.

Called by ops/sorting.py. All of keys, places: (rows, n); tally: (rows, 2^DIGIT, parts); part p of a row is elements [p * per, (p+1) * per).
dtype    of x      descending   larger first, equal elements still in order
</%doc>
<%! TUNABLES = dict(DIGIT=(8, 4, (4, 8)), WG=(1, 64, (1, 32, 64, 128)), ITEMS=(1, 4, (1, 2, 4, 8)))
CONSTRAINTS = ("wide or ((1 << DIGIT) * (WG + 2) + WG + 1) * 4 <= local_bytes",) %>
<%
U = "ulong" if dtype.itemsize == 8 else "uint"
RADIX = 1 << DIGIT
one = "__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""
group = f"__attribute__((reqd_work_group_size({WG}, 1, 1)))"
%>
<%def name="each(n)">
% if wide:
  const uint share = (${n} + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * share, hi = lo + share < ${n} ? lo + share : ${n};
  for (uint i = lo; i < hi; i++)
% else:
  for (uint i = get_global_id(0); i < ${n}; i += get_global_size(0))
% endif
</%def>
__kernel ${one}
void begin(__global ${U} *restrict keys, __global uint *restrict places, __global const ${dtype.storage} *restrict x, const uint offset,
           const uint total, const uint n, const int descending)
{
  const ${U} invert = descending ? ~(${U})0 : 0;
  ${each("total")} {
    keys[i] = sort_key_${dtype.s}(${dtype.load("x", "offset + i")}) ^ invert;
    places[i] = i % n;
  }
}

__kernel ${one}
void finish(__global ${dtype.storage} *restrict values, __global long *restrict indices, __global const uint *restrict places,
            __global const ${dtype.storage} *restrict x, const uint offset, const uint total, const uint n)
{
  ${each("total")} {
    values[i] = x[offset + i - i % n + places[i]];
    indices[i] = (long)places[i];
  }
}

__kernel ${group}
void count(__global uint *restrict tally, __global const ${U} *restrict keys, const uint n, const uint parts, const uint per, const uint shift)
{
  const uint row = (uint)get_group_id(0) / parts, part = (uint)get_group_id(0) - row * parts;
  const uint lo = part * per, hi = lo + per < n ? lo + per : n;
  __global const ${U} *restrict k = keys + row * n;
  __global uint *restrict out = tally + row * ${RADIX} * parts + part;
  uint mine[${RADIX}];
  for (uint d = 0; d < ${RADIX}; d++) mine[d] = 0;
% if wide:
  for (uint i = lo; i < hi; i++) mine[(uint)(k[i] >> shift) & ${RADIX - 1}]++;
  for (uint d = 0; d < ${RADIX}; d++) out[d * parts] = mine[d];
% else:
  __local uint all[${RADIX * WG}];
  const uint lid = get_local_id(0);
  for (uint i = lo + lid; i < hi; i += ${WG}) mine[(uint)(k[i] >> shift) & ${RADIX - 1}]++;
  for (uint d = 0; d < ${RADIX}; d++) all[d * ${WG} + lid] = mine[d];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (uint d = lid; d < ${RADIX}; d += ${WG}) {
    uint sum = 0;
    for (uint i = 0; i < ${WG}; i++) sum += all[d * ${WG} + i];
    out[d * parts] = sum;
  }
% endif
}

__kernel ${group}
void scan(__global uint *restrict tally, const uint entries)
{
  __global uint *restrict t = tally + (uint)get_group_id(0) * entries;
% if wide:
  uint sum = 0;
  for (uint i = 0; i < entries; i++) { const uint c = t[i]; t[i] = sum; sum += c; }
% else:
  __local uint sums[${WG}];
  const uint lid = get_local_id(0), per = (entries + ${WG} - 1) / ${WG};
  const uint lo = lid * per < entries ? lid * per : entries, hi = lo + per < entries ? lo + per : entries;
  uint sum = 0;
  for (uint i = lo; i < hi; i++) sum += t[i];
  sums[lid] = sum;
  barrier(CLK_LOCAL_MEM_FENCE);
  uint before = 0;
  for (uint i = 0; i < lid; i++) before += sums[i];
  for (uint i = lo; i < hi; i++) { const uint c = t[i]; t[i] = before; before += c; }
% endif
}

__kernel ${group}
void scatter(__global ${U} *restrict keys_out, __global uint *restrict places_out, __global const ${U} *restrict keys,
             __global const uint *restrict places, __global const uint *restrict tally, const uint n, const uint parts, const uint per,
             const uint shift)
{
  const uint row = (uint)get_group_id(0) / parts, part = (uint)get_group_id(0) - row * parts;
  const uint lo = part * per, hi = lo + per < n ? lo + per : n;
  __global const ${U} *restrict k = keys + row * n;
  __global const uint *restrict p = places + row * n;
  __global ${U} *restrict k_out = keys_out + row * n;
  __global uint *restrict p_out = places_out + row * n;
  __global const uint *restrict start = tally + row * ${RADIX} * parts + part;
% if wide:
  uint next[${RADIX}];
  for (uint d = 0; d < ${RADIX}; d++) next[d] = start[d * parts];
  for (uint i = lo; i < hi; i++) {
    const uint to = next[(uint)(k[i] >> shift) & ${RADIX - 1}]++;
    k_out[to] = k[i];
    p_out[to] = p[i];
  }
% else:
  ## rank[d, item]: how many elements of the tile have a smaller digit, or the same digit in an earlier work-item
  __local uint rank[${RADIX * WG}], sums[${WG}], next[${RADIX}], tile_start[${RADIX + 1}];
  const uint lid = get_local_id(0);
  for (uint d = lid; d < ${RADIX}; d += ${WG}) next[d] = start[d * parts];
  for (uint first = lo; first < hi; first += ${WG * ITEMS}) {
    ${U} mine[${ITEMS}];
    for (uint d = 0; d < ${RADIX}; d++) rank[d * ${WG} + lid] = 0;
    for (uint q = 0; q < ${ITEMS}; q++) {
      const uint i = first + lid * ${ITEMS} + q;
      mine[q] = i < hi ? k[i] : 0;
      if (i < hi) rank[((uint)(mine[q] >> shift) & ${RADIX - 1}) * ${WG} + lid]++;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    uint sum = 0;
    for (uint q = 0; q < ${RADIX}; q++) sum += rank[lid * ${RADIX} + q];
    sums[lid] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = 1; step < ${WG}; step *= 2) {
      const uint before = lid >= step ? sums[lid - step] : 0;
      barrier(CLK_LOCAL_MEM_FENCE);
      sums[lid] += before;
      barrier(CLK_LOCAL_MEM_FENCE);
    }
    sum = sums[lid] - sum;
    for (uint q = 0; q < ${RADIX}; q++) { const uint c = rank[lid * ${RADIX} + q]; rank[lid * ${RADIX} + q] = sum; sum += c; }
    if (lid == 0) tile_start[${RADIX}] = sums[${WG} - 1];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint d = lid; d < ${RADIX}; d += ${WG}) tile_start[d] = rank[d * ${WG}];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint q = 0; q < ${ITEMS}; q++) {
      const uint i = first + lid * ${ITEMS} + q;
      if (i < hi) {
        const uint d = (uint)(mine[q] >> shift) & ${RADIX - 1};
        const uint to = next[d] + rank[d * ${WG} + lid]++ - tile_start[d];
        k_out[to] = mine[q];
        p_out[to] = p[i];
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint d = lid; d < ${RADIX}; d += ${WG}) next[d] += tile_start[d + 1] - tile_start[d];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
% endif
}
