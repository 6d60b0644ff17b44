<%doc>
Positions of the nonzero elements of a mask, in order: count per part, then (after a prefix sum of the counts on the host, which has to
know the total anyway) write each part's positions from its own start on.

Called by ops/indexing.py. mask is contiguous, one byte an element; part p is elements [p * per, (p + 1) * per).
</%doc>
<%! TUNABLES = dict(WG=(1, 64, (1, 32, 64, 128))) %>
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void count(__global uint *restrict counts, __global const uchar *restrict mask, const uint offset, const uint n, const uint per)
{
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  uint found = 0;
% if wide:
  for (uint i = lo; i < hi; i++) found += mask[offset + i] != 0;
  counts[get_group_id(0)] = found;
% else:
  __local uint part[${WG}];
  const uint lid = get_local_id(0);
  for (uint i = lo + lid; i < hi; i += ${WG}) found += mask[offset + i] != 0;
  part[lid] = found;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (uint half_size = ${WG} / 2; half_size > 0; half_size /= 2) {
    if (lid < half_size) part[lid] += part[lid + half_size];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (lid == 0) counts[get_group_id(0)] = part[0];
% endif
}

__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void positions(__global long *restrict out, __global const uint *restrict starts, __global const uchar *restrict mask, const uint offset,
               const uint n, const uint per)
{
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  uint at = starts[get_group_id(0)];
% if wide:
  for (uint i = lo; i < hi; i++)
    if (mask[offset + i]) out[at++] = (long)i;
% else:
  __local uint rank[${WG}];
  const uint lid = get_local_id(0);
  for (uint first = lo; first < hi; first += ${WG}) {
    const uint i = first + lid, mine = i < hi && mask[offset + i] ? 1 : 0;
    rank[lid] = mine;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = 1; step < ${WG}; step *= 2) {
      const uint before = lid >= step ? rank[lid - step] : 0;
      barrier(CLK_LOCAL_MEM_FENCE);
      rank[lid] += before;
      barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (mine) out[at + rank[lid] - 1] = (long)i;
    at += rank[${WG} - 1];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
% endif
}
