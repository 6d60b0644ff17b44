<%doc>
out[r, j] = where value[r, j] goes in the ascending row of boundaries: the first place that keeps the order (right = 0) or the last.
Called by ops/sorting.py for searchsorted and bucketize. rows of boundaries: `length` elements each, shared by all values if row_step = 0.

dtype   of boundaries and values      index   type of out (int32 or int64)      values  elements of value per row
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void search(__global ${index.storage} *restrict out, __global const ${dtype.storage} *restrict boundary, const uint boundary_offset,
            const uint row_step, const uint length, __global const ${dtype.storage} *restrict value, const uint value_offset,
            const uint values, const uint n, const int right)
{
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint first = (uint)get_group_id(0) * per, stop = first + per < n ? first + per : n;
  for (uint i = first; i < stop; i++) {
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
% endif
    const ${dtype.c} v = ${dtype.load("value", "value_offset + i")};
    const uint base = boundary_offset + i / values * row_step;
    uint lo = 0, hi = length;
    while (lo < hi) {
      const uint mid = lo + (hi - lo) / 2;
      const ${dtype.c} b = ${dtype.load("boundary", "base + mid")};
      const int before = right ? !(b > v) : !(b >= v);
      lo = before ? mid + 1 : lo;
      hi = before ? hi : mid;
    }
    out[i] = (${index.storage})lo;
  }
}
