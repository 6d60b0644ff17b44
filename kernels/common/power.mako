<%doc>
Powers and roots beyond sqrt: pow cbrt hypot, and pow of integers. Errors in ulp, measured by tests/test_math_accuracy.py.
</%doc>

## A float without its last 12 bits: products of two such are exact.
<%def name="head(t, wide)">
% if t.s == "f32":
static inline float head_f32(float x) { return as_float(as_uint(x) & 0xfffff000u); }
% endif
</%def>

## log2 of x = 2^e * (1 + f), positive and finite, as the sum of the result and *rest, relative error 2^-31: log2(1 + f) is the series of
## atanh in s = f / (2 + f), whose first term is kept exactly in pieces of 12 bits.
<%def name="log2_pair(t, wide)">
% if t.s == "f32":
static inline float log2_pair_f32(float x, float *rest) {
#pragma OPENCL FP_CONTRACT OFF
  float e;
  const float f = log_split_f32(x, &e), d = 2.0f + f, s = f / d;
  const float sh = head_f32(s), dh = head_f32(d), dl = f - (dh - 2.0f);
  const float sl = ((f - sh * dh) - sh * dl) / d, z = s * s;
  const float high = sh * 0x1.716p1f;
  const float low = sh * -0.00035210572f + sl * 2.88539f + s * z * ${poly("z", [0.9617967, 0.5770789, 0.4119217, 0.33661425])};
  const float sum = e + high, lost = high - (sum - e) + low, whole = sum + lost;
  *rest = lost - (whole - sum);
  return whole;
}
% endif
</%def>

## 2 ulp (the driver's pow: up to 16). Special cases as in C: x^0 and 1^y are 1 even with NaN, negative x needs a whole y.
<%def name="pow(t, wide)">
% if native:
${builtin("pow", "x, y")}
% elif t.s == "f32":
static inline float pow_f32(float x, float y) {
#pragma OPENCL FP_CONTRACT OFF
  const float a = abs_f32(x), c = y > 0x1p33f ? 0x1p33f : y < -0x1p33f ? -0x1p33f : y;
  float rest;
  const float l = log2_pair_f32(a, &rest), lh = head_f32(l), ch = head_f32(c);
  const float high = ch * lh, low = (c - ch) * lh + c * ((l - lh) + rest), product = high + low;
  const float bounded = product > 135.0f ? 135.0f : product < -160.0f ? -160.0f : product;
  const float k = (bounded + 12582912.0f) - 12582912.0f;
  const float r = product == bounded ? ((high - k) + low) * 0.6931472f : 0.0f;
  const float finite = scale_f32(1.0f + (r + exp_tail_f32(r)), as_int(bounded + 12582912.0f) - 0x4b400000);
  const float size = a == 0.0f || a == INFINITY ? ((a == 0.0f) == (y < 0.0f) ? INFINITY : 0.0f) : finite;
  const int whole = floor_f32(y) == y, odd = whole && 2.0f * floor_f32(0.5f * y) != y;
  const float signed_size = odd ? copysign_f32(size, x) : x < 0.0f && x > -INFINITY && !whole ? NAN : size;
  return y == 0.0f || x == 1.0f ? 1.0f : x != x || y != y ? x + y : signed_size;
}
% elif t.is_integral:
## Wraps. A negative exponent gives 0, but 1 for base 1 and +-1 for base -1 (PyTorch's rule for tensors of exponents).
static inline ${t.c} pow_${t.s}(${t.c} x, ${t.c} y) {
  ulong base = (ulong)x, result = 1;
  for (ulong n = y < 0 ? 0 : (ulong)y; n; n >>= 1) {
    result = n & 1 ? result * base : result;
    base *= base;
  }
  return (${t.c})(y >= 0 || x == 1 ? result : x == ${t.lit(-1) if t.is_signed else 1} ? (y & 1 ? (ulong)x : 1) : 0);
}
% elif t.is_bool:
static inline uchar pow_b8(uchar x, uchar y) { return x | !y; }
% endif
</%def>

## 1 ulp.
<%def name="cbrt(t, wide)">
% if native:
${builtin("cbrt")}
% elif t.s == "f32":
static inline float cbrt_f32(float x) {
  const float size = abs_f32(x);
  const int tiny = size < 0x1p-60f, huge = size > 0x1p60f;
  const float a = size * (tiny ? 0x1p72f : huge ? 0x1p-48f : 1.0f);
  const float guess = as_float(as_uint(a) / 3u + 0x2a5119f2u), cube = guess * guess * guess;
  const float better = guess * (cube + 2.0f * a) / (2.0f * cube + a);
  const float root = better + (a / (better * better) - better) * 0.33333333f;
  return x == 0.0f || !(size < INFINITY) ? x : copysign_f32(root * (tiny ? 0x1p-24f : huge ? 0x1p16f : 1.0f), x);
}
% endif
</%def>

## sqrt(x^2 + y^2) without overflow, 2 ulp; infinite if either is, even beside NaN.
<%def name="hypot(t, wide)">
% if native:
${builtin("hypot", "x, y")}
% elif t.s == "f32":
static inline float hypot_f32(float x, float y) {
  const float a = abs_f32(x), b = abs_f32(y), large = a > b ? a : b;
  const float up = large > 0x1p60f ? 0x1p-70f : large < 0x1p-40f ? 0x1p86f : 1.0f;
  const float down = large > 0x1p60f ? 0x1p70f : large < 0x1p-40f ? 0x1p-86f : 1.0f;
  const float u = a * up, v = b * up;
  return a == INFINITY || b == INFINITY ? INFINITY : sqrt_f32(u * u + v * v) * down;
}
% endif
</%def>
