<%doc>
counts[bin[i]] += 1 for bins in [0, bins); others are skipped. counts is zeroed beforehand. Exact and the same on every run.
Called by ops/sorting.py for bincount and histc.

wide    each work-item counts in a row of its own of counts (groups, bins); the caller adds the rows up
grid    32-bit integer atomics in one row
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void tally(volatile __global int *counts, __global const long *restrict bin, const uint offset, const uint n, const uint bins)
{
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  __global int *mine = (__global int *)counts + (uint)get_group_id(0) * bins;
  for (uint i = lo; i < hi; i++) {
    const long b = bin[offset + i];
    if (b >= 0 && b < (long)bins) mine[b]++;
  }
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    const long b = bin[offset + i];
    if (b >= 0 && b < (long)bins) atomic_inc(counts + b);
  }
% endif
}
