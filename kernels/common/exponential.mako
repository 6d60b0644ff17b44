<%doc>
exp and log and what is made of them: exp exp2 expm1 log log2 log10 log1p sigmoid logsigmoid softplus log_add_exp log_add_exp2 logit
sinh cosh tanh asinh acosh atanh. In float32 and strategy wide all are plain C without branches, so that compilers vectorise a loop that
calls them. Errors are in units in the last place (ulp) over all floats, measured by tests/test_math_accuracy.py.
</%doc>

## e^f - 1 - f on |f| <= ln(2) / 2, relative error of the whole 2^-31.
<%def name="exp_tail(t, wide)">
% if t.s == "f32":
static inline float exp_tail_f32(float f) {
  return f * f * ${poly("f", [0.5, 0.16666666, 0.041666493, 0.008333548, 0.0013932318, 0.00019759928])};
}
% endif
</%def>

## x * 2^n for n from -252 to 254: two factors, so that subnormal results are rounded once and 2^128 needs no float.
<%def name="scale(t, wide)">
% if t.s == "f32":
static inline float scale_f32(float x, int n) {
  const int half_n = n >> 1;
  return x * as_float((uint)(half_n + 127) << 23) * as_float((uint)(n - half_n + 127) << 23);
}
% endif
</%def>

## x = n * ln(2) + f for |x| <= 104, |f| <= ln(2) / 2; gives e^f - 1 - large and large, the exact part of f. NaN stays NaN.
## The constant is 1.5 * 2^23: adding it rounds to an integer, which then is in the low bits.
<%def name="exp_split(t, wide)">
% if t.s == "f32":
static inline float exp_split_f32(float x, int *n, float *large) {
  const float k = x * 1.442695f + 12582912.0f, whole = k - 12582912.0f;
  const float small = whole * 1.4286068e-06f;
  *n = as_int(k) - 0x4b400000;
  *large = x - whole * 0x1.62e4p-1f;
  return exp_tail_f32(*large - small) - small;
}
% endif
</%def>

## 1 ulp; subnormal results are exact to rounding.
<%def name="exp(t, wide)">
% if native:
${builtin("exp")}
% elif t.s == "f32":
static inline float exp_f32(float x) {
  int n;
  float f;
  const float tail = exp_split_f32(x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x, &n, &f);
  return scale_f32(1.0f + (f + tail), n);
}
% endif
</%def>

## e^x / 2 where e^x alone overflows already.
<%def name="exp_half(t, wide)">
% if t.s == "f32":
static inline float exp_half_f32(float x) {
  int n;
  float f;
  const float tail = exp_split_f32(x > 90.0f ? 90.0f : x < -104.0f ? -104.0f : x, &n, &f);
  return scale_f32(1.0f + (f + tail), n - 1);
}
% endif
</%def>

## 1 ulp.
<%def name="exp2(t, wide)">
% if native:
${builtin("exp2")}
% elif t.s == "f32":
static inline float exp2_f32(float x) {
  const float c = x > 129.0f ? 129.0f : x < -151.0f ? -151.0f : x, k = c + 12582912.0f;
  const float f = (c - (k - 12582912.0f)) * 0.6931472f;
  return scale_f32(1.0f + (f + exp_tail_f32(f)), as_int(k) - 0x4b400000);
}
% endif
</%def>

## (e^x - 1) / 2, finite as long as the half is: 2^(n-2) * (1 + f + tail) - 1/4 with the rounding error of the large sum put back, doubled.
<%def name="expm1_half(t, wide)">
% if t.s == "f32":
static inline float expm1_half_f32(float x) {
  int n;
  float f;
  const float tail = exp_split_f32(x > 89.7f ? 89.7f : x < -18.0f ? -18.0f : x, &n, &f);
  const float s = as_float((uint)(n + 125) << 23), large = s - 0.25f, part = s * f, sum = large + part;
  const float lost = n > 0 ? part - (sum - large) : large - (sum - part);
  return 2.0f * (sum + (lost + s * tail));
}
% endif
</%def>

## 1 ulp; exact for |x| < 2^-25, where halving a subnormal would lose a bit.
<%def name="expm1(t, wide)">
% if native:
${builtin("expm1")}
% elif t.s == "f32":
static inline float expm1_f32(float x) {
  const float y = 2.0f * expm1_half_f32(x);
  return x < 0x1p-25f && x > -0x1p-25f ? x : y;
}
% endif
</%def>

## ln(1 + f) - f on sqrt(1/2) - 1 <= f <= sqrt(2) - 1.
<%def name="log_tail(t, wide)">
% if t.s == "f32":
static inline float log_tail_f32(float f) {
  const float z = f * f;
  return z * f * ${poly("f", [0.33333313, -0.2500001, 0.20002073, -0.16667993, 0.14220315, -0.12406087, 0.11883792, -0.11671285, 0.067501776])} - 0.5f * z;
}
% endif
</%def>

## x = 2^e * (1 + f) for positive finite x, subnormals too; gives f between sqrt(1/2) - 1 and sqrt(2) - 1.
<%def name="log_split(t, wide)">
% if t.s == "f32":
static inline float log_split_f32(float x, float *e) {
  const int tiny = x < 0x1p-126f;
  const uint bits = as_uint(tiny ? x * 0x1p25f : x) - 0x3f3504f3u;
  *e = (float)((int)bits >> 23) - (tiny ? 25.0f : 0.0f);
  return as_float((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
}
% endif
</%def>

## What a logarithm is where x isn't positive and finite; y elsewhere.
<%def name="log_edges(t, wide)">
% if t.s == "f32":
static inline float log_edges_f32(float x, float y) {
  return x < INFINITY ? (x > 0.0f ? y : x == 0.0f ? -INFINITY : NAN) : x;
}
% endif
</%def>

## 1 ulp.
<%def name="log(t, wide)">
% if native:
${builtin("log")}
% elif t.s == "f32":
static inline float log_f32(float x) {
  float e;
  const float f = log_split_f32(x, &e);
  return log_edges_f32(x, ((e * -2.1219444e-04f + log_tail_f32(f)) + f) + e * 0.693359375f);
}
% endif
</%def>

## 1 ulp; powers of two are exact.
<%def name="log2(t, wide)">
% if native:
${builtin("log2")}
% elif t.s == "f32":
static inline float log2_f32(float x) {
  float e;
  const float f = log_split_f32(x, &e);
  return log_edges_f32(x, ((log_tail_f32(f) * 1.442695f + f * 0.442695f) + f) + e);
}
% endif
</%def>

## 2 ulp.
<%def name="log10(t, wide)">
% if native:
${builtin("log10")}
% elif t.s == "f32":
static inline float log10_f32(float x) {
  float e;
  const float f = log_split_f32(x, &e);
  const float small = e * 7.9034151e-07f + (log_tail_f32(f) * 0.4342945f + f * 0.00070073188f);
  return log_edges_f32(x, (small + f * 0.43359375f) + e * 0.30102921f);
}
% endif
</%def>

## 1 ulp. The rounding error of 1 + x is put back; near 0 that sum isn't needed.
<%def name="log1p(t, wide)">
% if native:
${builtin("log1p")}
% elif t.s == "f32":
static inline float log1p_f32(float x) {
  float e;
  const float u = 1.0f + x, split = log_split_f32(u, &e);
  const int near = e == 0.0f;
  const float lost = x < 1.0f ? x - (u - 1.0f) : 1.0f - (u - x);
  const float f = near ? x : split, correction = near ? 0.0f : lost / u;
  const float y = f + (log_tail_f32(f) + (e * -2.1219444e-04f + correction));
  return log_edges_f32(u, near ? f + log_tail_f32(f) : y + e * 0.693359375f);
}
% endif
</%def>

## 1 / (1 + e^-x), 2 ulp, without overflow on either side.
<%def name="sigmoid(t, wide)">
% if t.is_float:
static inline ${t.c} sigmoid_${t.s}(${t.c} x) {
  const ${t.c} e = exp_${t.s}(-abs_${t.s}(x));
  return (x < 0 ? e : ${t.one}) / (${t.one} + e);
}
% endif
</%def>

## ln(1 + e^x), 2 ulp, without overflow.
<%def name="softplus(t, wide)">
% if t.is_float:
static inline ${t.c} softplus_${t.s}(${t.c} x) {
  return (x > 0 ? x : ${t.zero}) + log1p_${t.s}(exp_${t.s}(-abs_${t.s}(x)));
}
% endif
</%def>

## ln(sigmoid(x)) = -softplus(-x).
<%def name="logsigmoid(t, wide)">
% if t.is_float:
static inline ${t.c} logsigmoid_${t.s}(${t.c} x) { return -softplus_${t.s}(-x); }
% endif
</%def>

<%def name="logit(t, wide)">
% if t.is_float:
static inline ${t.c} logit_${t.s}(${t.c} x) { return log_${t.s}(x / (${t.one} - x)); }
% endif
</%def>

## ln(e^a + e^b) without overflow; equal infinities give themselves.
<%def name="log_add_exp(t, wide)">
% if t.is_float:
static inline ${t.c} log_add_exp_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} larger = max_${t.s}(a, b), gap = abs_${t.s}(a - b);
  return a == b && isinf_${t.s}(a) ? a : larger + log1p_${t.s}(exp_${t.s}(-gap));
}
% endif
</%def>

<%def name="log_add_exp2(t, wide)">
% if t.is_float:
static inline ${t.c} log_add_exp2_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} larger = max_${t.s}(a, b), gap = abs_${t.s}(a - b);
  return a == b && isinf_${t.s}(a) ? a : larger + log1p_${t.s}(exp2_${t.s}(-gap)) * ${t.lit(1.4426950408889634)};
}
% endif
</%def>

## 2 ulp. Odd polynomial near 0, 1 - 2 / (e^2|x| + 1) elsewhere.
<%def name="tanh(t, wide)">
% if native:
${builtin("tanh")}
% elif t.s == "f32":
static inline float tanh_f32(float x) {
  const float a = abs_f32(x), z = x * x;
  const float near = x + x * z * ${poly("z", [-0.3333332, 0.13332637, -0.05385685, 0.021088311, -0.006295665])};
  int n;
  float f;
  const float tail = exp_split_f32(a > 10.0f ? 20.0f : 2.0f * a, &n, &f);
  const float e = (1.0f + (f + tail)) * as_float((uint)(n + 127) << 23);
  return a < 0.55f ? near : copysign_f32(1.0f - 2.0f / (e + 1.0f), x);
}
% endif
</%def>

## 2 ulp: with h = (e^|x| - 1) / 2, sinh |x| = h + h / (2 h + 1).
<%def name="sinh(t, wide)">
% if native:
${builtin("sinh")}
% elif t.s == "f32":
static inline float sinh_f32(float x) {
  const float a = abs_f32(x), h = expm1_half_f32(a);
  const float y = a > 30.0f ? h : h + h / (2.0f * h + 1.0f);
  return a < 0x1p-12f ? x : copysign_f32(y, x);
}
% endif
</%def>

## 2 ulp.
<%def name="cosh(t, wide)">
% if native:
${builtin("cosh")}
% elif t.s == "f32":
static inline float cosh_f32(float x) {
  const float h = exp_half_f32(abs_f32(x));
  return h + 0.25f / h;
}
% endif
</%def>

## 2 ulp: ln(|x| + sqrt(x^2 + 1)); ln |x| + ln 2 where the square would overflow.
<%def name="asinh(t, wide)">
% if native:
${builtin("asinh")}
% elif t.s == "f32":
static inline float asinh_f32(float x) {
  const float a = abs_f32(x), z = a * a;
  const int large = a > 0x1p30f;
  const float y = log1p_f32(large ? a : a + z / (1.0f + sqrt_f32(1.0f + z)));
  return a < 0x1p-12f ? x : copysign_f32(large ? y + 0.6931472f : y, x);
}
% endif
</%def>

## 2 ulp; NaN below 1.
<%def name="acosh(t, wide)">
% if native:
${builtin("acosh")}
% elif t.s == "f32":
static inline float acosh_f32(float x) {
  const float d = x - 1.0f;
  const int large = x > 0x1p30f;
  const float y = log1p_f32(large ? d : d + sqrt_f32(2.0f * d + d * d));
  return x >= 1.0f ? (large ? y + 0.6931472f : y) : NAN;
}
% endif
</%def>

## 2 ulp: ln(1 + 2 |x| / (1 - |x|)) / 2.
<%def name="atanh(t, wide)">
% if native:
${builtin("atanh")}
% elif t.s == "f32":
static inline float atanh_f32(float x) {
  const float a = abs_f32(x), twice = 2.0f * a;
  const float y = 0.5f * log1p_f32(a < 0.5f ? twice + twice * a / (1.0f - a) : twice / (1.0f - a));
  return a < 0x1p-12f ? x : copysign_f32(y, x);
}
% endif
</%def>
