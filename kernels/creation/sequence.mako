<%doc>
arange and linspace of a floating type: out[i] = start + i * step for i < half_way, end - (n - 1 - i) * step from there on (linspace is
symmetric, as PyTorch's). Called by ops/creation.py.

dtype    of out      work   type of the arithmetic: float64 for float64, else float32

In float32 a number is the sum of two floats, a high and a low part, and so is the result before it is rounded once: as good as double
precision, and the same on devices that have none (T. J. Dekker, "A floating-point technique for extending the available precision", 1971).
</%doc>
<% pairs = work.name != "float64" %>
% if pairs:
static inline __attribute__((always_inline)) float along(float high, float low, float step, float rest, uint k)
{
#pragma OPENCL FP_CONTRACT OFF
  if (k == 0) return high + low;
  const float a = (float)(k & 0xfffff000u), b = (float)(k & 0xfffu);
  const float p = a * step, q = b * step;
  const float product_error = (fma_f32(a, step, -p) + a * rest) + (fma_f32(b, step, -q) + b * rest);
  const float s = p + q, s_error = q - (s - p);
  const float v = high + s, t = v - high, v_error = (high - (v - t)) + (s - t);
  return v + (v_error + ((s_error + product_error) + low));
}

% endif
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void sequence(__global ${dtype.storage} *restrict out, const uint n, const uint half_way,
% if pairs:
              const float start, const float start_low, const float end, const float end_low, const float step, const float step_low)
% else:
              const double start, const double end, const double step)
% endif
{
#pragma OPENCL FP_CONTRACT OFF
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  for (uint i = lo; i < hi; i++) {
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
% endif
    const uint rest = n - 1 - i;
% if pairs:
    const float value = i < half_way ? along(start, start_low, step, step_low, i) : along(end, end_low, -step, -step_low, rest);
% else:
    const double value = i < half_way ? start + (double)i * step : end - (double)rest * step;
% endif
    ${dtype.store("out", "i", dtype.cast(work, "value"))};
  }
}
