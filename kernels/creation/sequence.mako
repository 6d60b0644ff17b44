<%doc>
arange and linspace: out[i] = start + i * step for i < half, end - (n - 1 - i) * step from there on (linspace is symmetric, as PyTorch's).
Called by ops/creation.py.

dtype    of out      work   type of the arithmetic: int64, float64 where the device has it, else float32
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void sequence(__global ${dtype.storage} *restrict out, const uint n, const uint half_way, const ${work.kernel_scalar} start,
              const ${work.kernel_scalar} end, const ${work.kernel_scalar} step)
{
#pragma OPENCL FP_CONTRACT OFF
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  for (uint i = lo; i < hi; i++) {
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
% endif
    const ${work.c} rise = start + (${work.c})i * step, fall = end - (${work.c})(n - 1 - i) * step;
    const ${work.c} value = i < half_way ? rise : fall;
    ${dtype.store("out", "i", dtype.cast(work, "value"))};
  }
}
