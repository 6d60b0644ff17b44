<%doc>
counts[bin[i]] += 1 (32-bit integer atomics: exact and the same on every run); bins outside [0, bins) are skipped.
Called by ops/sorting.py for bincount and histc. counts is zeroed beforehand.
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void tally(volatile __global int *counts, __global const long *restrict bin, const uint offset, const uint n, const uint bins)
{
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  for (uint i = lo; i < hi; i++) {
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
% endif
    const long b = bin[offset + i];
    if (b >= 0 && b < (long)bins) atomic_inc(counts + b);
  }
}
