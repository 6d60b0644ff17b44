<%doc>
Stable sort of each row of a contiguous (rows, n) tensor in one launch: values and int64 indices. For many or short rows.
Called by ops/sorting.py; long single rows go through radix.mako.

wide     a work-item sorts whole rows: insertion up to 32 elements, else radix passes of 8 bits in its own part of `keys` (2n words)
         and `places` (2n), skipping digits that all elements share
grid     a work-group sorts a row of up to TILE elements in local memory (bitonic, ties broken by the original place)
dtype    of x; first_bit, bits: the digits of its key that can differ      descending   larger first, equal elements still in order
</%doc>
<%! TUNABLES = dict(TILE=(1024, 1024, (256, 512, 1024)), WG=(1, 128, (1, 64, 128, 256)))
CONSTRAINTS = ("wide or TILE * 10 <= local_bytes",) %>
<% U = "ulong" if dtype.itemsize == 8 else "uint" %>
<%def name="key(at)">sort_key_${dtype.s}(${dtype.load("x", at)})</%def>
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void rows(__global const ${dtype.storage} *restrict x, const uint offset, __global ${dtype.storage} *restrict values,
          __global long *restrict indices, __global ${U} *restrict keys, __global uint *restrict places, const uint rows, const uint n,
          const int descending)
{
% if wide:
  __global ${U} *restrict scratch = keys + (uint)get_group_id(0) * 2 * n;
  __global uint *restrict scratch_places = places + (uint)get_group_id(0) * 2 * n;
  const ${U} invert = descending ? ~(${U})0 : 0;
  uint count[256];
  for (uint row = get_group_id(0); row < rows; row += get_num_groups(0)) {
    const uint base = offset + row * n;
    __global ${U} *k = scratch, *k_next = scratch + n;
    __global uint *p = scratch_places, *p_next = scratch_places + n;
    if (n <= 32) {
      for (uint i = 0; i < n; i++) {
        const ${U} mine = ${key("base + i")} ^ invert;
        uint at = i;
        for (; at > 0 && k[at - 1] > mine; at--) { k[at] = k[at - 1]; p[at] = p[at - 1]; }
        k[at] = mine;
        p[at] = i;
      }
    } else {
      for (uint i = 0; i < n; i++) { k[i] = ${key("base + i")} ^ invert; p[i] = i; }
      for (uint shift = ${first_bit}; shift < ${bits}; shift += 8) {
        for (uint d = 0; d < 256; d++) count[d] = 0;
        for (uint i = 0; i < n; i++) count[(uint)(k[i] >> shift) & 255]++;
        if (count[(uint)(k[0] >> shift) & 255] == n) continue;
        uint sum = 0;
        for (uint d = 0; d < 256; d++) { const uint c = count[d]; count[d] = sum; sum += c; }
        for (uint i = 0; i < n; i++) {
          const uint to = count[(uint)(k[i] >> shift) & 255]++;
          k_next[to] = k[i];
          p_next[to] = p[i];
        }
        __global ${U} *k_swap = k; k = k_next; k_next = k_swap;
        __global uint *p_swap = p; p = p_next; p_next = p_swap;
      }
    }
    for (uint i = 0; i < n; i++) {
      values[row * n + i] = x[base + p[i]];
      indices[row * n + i] = (long)p[i];
    }
  }
% else:
  __local ${U} k[${TILE}];
  __local ushort p[${TILE}];
  const uint lid = get_local_id(0);
  uint padded = 1;
  while (padded < n) padded *= 2;
  for (uint row = get_group_id(0); row < rows; row += get_num_groups(0)) {
    const uint base = offset + row * n;
    for (uint i = lid; i < padded; i += ${WG}) {
      k[i] = ~(${U})0;
      if (i < n) {
        const ${U} mine = ${key("base + i")};
        k[i] = descending ? ~mine : mine;
      }
      p[i] = (ushort)i;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint size = 2; size <= padded; size *= 2)
      for (uint step = size / 2; step > 0; step /= 2) {
        for (uint q = lid; q < padded / 2; q += ${WG}) {
          const uint i = 2 * q - (q & (step - 1)), j = i + step;
          const ${U} a = k[i], b = k[j];
          const ushort pa = p[i], pb = p[j];
          const int above = a > b || (a == b && pa > pb);
          if (above == ((i & size) == 0)) { k[i] = b; k[j] = a; p[i] = pb; p[j] = pa; }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
      }
    for (uint i = lid; i < n; i += ${WG}) {
      values[row * n + i] = x[base + p[i]];
      indices[row * n + i] = (long)p[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
% endif
}
