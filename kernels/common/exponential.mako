<%doc>
exp and log and what is made of them: exp exp2 expm1 log log2 log10 log1p sigmoid logsigmoid softplus log_add_exp log_add_exp2 logit
sinh cosh tanh asinh acosh atanh. In strategy wide all are plain C without branches, so that compilers vectorise a loop that calls
them, but for log2, log10 and the hyperbolic functions other than tanh in float64. Errors are in units in the last
place (ulp) over all floats, measured by tests/test_math_accuracy.py.
</%doc>

<%!
# What the float types differ in. MAGIC is 1.5 * 2^bits: adding it rounds to an integer, which then is in the low bits. LN2 is cut in two
# so that an exponent times the first part is exact. ROOT is the bit pattern of sqrt(1/2). The tails of exp are near-minimax: of e^f - 1 - f to
# 2^-31 of e^f - 1, and the short one to 2^-28 of e^f.
KINDS = {
    "f32": dict(
        int="int", uint="uint", bits=23, bias=127, one="1", MAGIC=12582912.0, MAGIC_BITS="0x4b400000", LN2=("0x1.62e4p-1f", 1.4286068e-06),
        ROOT="0x3f3504f3u", MANTISSA="0x007fffffu", tiny="0x1p-126f", up="0x1p25f", lift=25.0, exact="0x1p-25f",
        low=-104, high=89, high_half=90, high_expm1=89.7, low_expm1=-18, low2=-151, high2=129,
        tail=(0.5, 0.16666666, 0.041666493, 0.008333548, 0.0013932318, 0.00019759928),
        short_tail=(0.49999994, 0.1666652, 0.0416684, 0.00836885, 0.001381432)),
    "f64": dict(
        int="long", uint="ulong", bits=52, bias=1023, one="1L", MAGIC=6755399441055744.0, MAGIC_BITS="0x4338000000000000L",
        LN2=("0x1.62e42feep-1", 1.9082149292705877e-10), ROOT="0x3fe6a09e667f3bcdUL", MANTISSA="0x000fffffffffffffUL",
        tiny="0x1p-1022", up="0x1p54", lift=54.0, exact="0x1p-54",
        low=-746, high=710, high_half=711, high_expm1=710.6, low_expm1=-38, low2=-1076, high2=1025,
        tail=(0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326084, 0.0013888888888883711, 0.0001984126987500228,
              2.480158732567746e-05, 2.755725517000089e-06, 2.755727347871858e-07, 2.5105312729622103e-08, 2.09147553258932e-09))}
KINDS["f64"]["short_tail"] = KINDS["f64"]["tail"]
LOG_F32 = (0.33333313, -0.2500001, 0.20002073, -0.16667993, 0.14220315, -0.12406087, 0.11883792, -0.11671285, 0.067501776)
LOG_F64 = (0.6666666666666666, 0.4000000000000088, 0.2857142857080285, 0.22222222391887064, 0.18181795621632782, 0.15386240708969665,
           0.13268746195596595, 0.13086907887965027)
%>

## e^f - 1 - f on |f| <= ln(2) / 2, relative error of the whole 2^-31 (float64: 2^-60).
<%def name="exp_tail(t, wide)">
% if t.is_float:
static inline ${t.c} exp_tail_${t.s}(${t.c} f) {
  return f * f * ${poly("f", KINDS[t.s]["tail"])};
}
% endif
</%def>

## x * 2^n in two factors, so that subnormal results are rounded once and the largest power needs no number.
<%def name="scale(t, wide)">
% if t.is_float:
<% k = KINDS[t.s] %>
static inline ${t.c} scale_${t.s}(${t.c} x, ${k["int"]} n) {
  const ${k["int"]} half_n = n >> 1;
  return x * exponent_${t.s}(half_n) * exponent_${t.s}(n - half_n);
}
% endif
</%def>

## 2^n for normal results.
<%def name="exponent(t, wide)">
% if t.is_float:
<% k = KINDS[t.s] %>
static inline ${t.c} exponent_${t.s}(${k["int"]} n) { return as_${t.c}((${k["uint"]})(n + ${k["bias"]}) << ${k["bits"]}); }
% endif
</%def>

## x = n * ln(2) + f, |f| <= ln(2) / 2, |x| at most about 104 (float64: 746); gives e^f - 1 - large and large, the exact part of f. NaN stays NaN.
<%def name="exp_split(t, wide)">
% if t.is_float:
<% k = KINDS[t.s] %>
static inline ${t.c} exp_split_${t.s}(${t.c} x, ${k["int"]} *n, ${t.c} *large) {
  const ${t.c} k = x * ${t.lit(1.4426950408889634)} + ${t.lit(k["MAGIC"])}, whole = k - ${t.lit(k["MAGIC"])};
  const ${t.c} small = whole * ${t.lit(k["LN2"][1])};
  *n = as_${k["int"]}(k) - ${k["MAGIC_BITS"]};
  *large = x - whole * ${k["LN2"][0]};
  return exp_tail_${t.s}(*large - small) - small;
}
% endif
</%def>

## y * 2^n for 1/2 < y < 2 and every n that exp and exp2 reach; k is MAGIC + n. The first factor leaves a normal number, so subnormal results are
## rounded once, and infinity comes of the second. Factors instead of sums of bits keep every NaN.
<%def name="raised(t, wide)">
% if t.is_float:
<%
k = KINDS[t.s]
one, bits, bias = k["one"], k["bits"], k["bias"]
least = f"-({one} * {bias - 3} << {bits})"
%>
static inline ${t.c} raised_${t.s}(${t.c} y, ${t.c} k) {
  const ${k["int"]} power = as_${k["int"]}(as_${k["uint"]}(k) << ${bits}), most = power < ${least} ? ${least} : power;
  return y * as_${t.c}(most + (${one} * ${bias - 1} << ${bits})) * as_${t.c}((power - most) + (${one} * ${bias + 1} << ${bits}));
}
% endif
</%def>

## 1 ulp; subnormal results are exact to rounding.
<%def name="exp(t, wide)">
% if t.is_float and not wide:
${builtin("exp")}
% elif t.is_float:
<%
k = KINDS[t.s]
low, high, magic = t.lit(k["low"]), t.lit(k["high"]), t.lit(k["MAGIC"])
%>
static inline ${t.c} exp_${t.s}(${t.c} x) {
  const ${t.c} above = x < ${low} ? ${low} : x, c = above > ${high} ? ${high} : above;
  const ${t.c} k = c * ${t.lit(1.4426950408889634)} + ${magic}, whole = k - ${magic};
  const ${t.c} f = (c - whole * ${k["LN2"][0]}) - whole * ${t.lit(k["LN2"][1])};
  return raised_${t.s}(1 + (f + f * f * ${poly("f", k["short_tail"])}), k);
}
% endif
</%def>

## e^x / 2 where e^x alone overflows already.
<%def name="exp_half(t, wide)">
% if t.is_float:
<% k = KINDS[t.s] %>
static inline ${t.c} exp_half_${t.s}(${t.c} x) {
  ${k["int"]} n;
  ${t.c} f;
  const ${t.c} c = x > ${t.lit(k["high_half"])} ? ${t.lit(k["high_half"])} : x < ${t.lit(k["low"])} ? ${t.lit(k["low"])} : x;
  const ${t.c} tail = exp_split_${t.s}(c, &n, &f);
  return scale_${t.s}(1 + (f + tail), n - 1);
}
% endif
</%def>

## 1 ulp.
<%def name="exp2(t, wide)">
% if t.is_float and not wide:
${builtin("exp2")}
% elif t.is_float:
<%
k = KINDS[t.s]
low, high, magic = t.lit(k["low2"]), t.lit(k["high2"]), t.lit(k["MAGIC"])
%>
static inline ${t.c} exp2_${t.s}(${t.c} x) {
  const ${t.c} above = x < ${low} ? ${low} : x, c = above > ${high} ? ${high} : above;
  const ${t.c} k = c + ${magic}, f = (c - (k - ${magic})) * ${t.lit(0.6931471805599453)};
  return raised_${t.s}(1 + (f + f * f * ${poly("f", k["short_tail"])}), k);
}
% endif
</%def>

## (e^x - 1) / 2, finite as long as the half is: 2^(n-2) * (1 + f + tail) - 1/4 with the rounding error of the large sum put back, doubled.
<%def name="expm1_half(t, wide)">
% if t.is_float:
<%
k = KINDS[t.s]
high, low = t.lit(k["high_expm1"]), t.lit(k["low_expm1"])
%>
static inline ${t.c} expm1_half_${t.s}(${t.c} x) {
  ${k["int"]} n;
  ${t.c} f;
  const ${t.c} tail = exp_split_${t.s}(x > ${high} ? ${high} : x < ${low} ? ${low} : x, &n, &f);
  const ${t.c} s = exponent_${t.s}(n - 2), large = s - ${t.lit(0.25)}, part = s * f, sum = large + part;
  const ${t.c} lost = n > 0 ? part - (sum - large) : large - (sum - part);
  return 2 * (sum + (lost + s * tail));
}
% endif
</%def>

## 1 ulp; exact near 0, where halving a subnormal would lose a bit.
<%def name="expm1(t, wide)">
% if t.is_float and not wide:
${builtin("expm1")}
% elif t.is_float:
<% k = KINDS[t.s] %>
static inline ${t.c} expm1_${t.s}(${t.c} x) {
  const ${t.c} y = 2 * expm1_half_${t.s}(x);
  return x < ${k["exact"]} && x > -${k["exact"]} ? x : y;
}
% endif
</%def>

## ln(1 + f) - f on sqrt(1/2) - 1 <= f <= sqrt(2) - 1: a polynomial, or (float64) the series of atanh in s = f / (2 + f).
<%def name="log_tail(t, wide)">
% if t.s == "f32":
static inline float log_tail_f32(float f) {
  const float z = f * f;
  return z * f * ${poly("f", LOG_F32)} - 0.5f * z;
}
% elif t.s == "f64":
static inline double log_tail_f64(double f) {
  const double s = f / (2.0 + f), z = s * s, half_square = 0.5 * f * f;
  return s * (half_square + z * ${poly("z", LOG_F64)}) - half_square;
}
% endif
</%def>

## x = 2^e * (1 + f) for positive finite x, subnormals too; gives f between sqrt(1/2) - 1 and sqrt(2) - 1.
<%def name="log_split(t, wide)">
% if t.is_float:
<% k = KINDS[t.s] %>
static inline ${t.c} log_split_${t.s}(${t.c} x, ${t.c} *e) {
  const int tiny = x < ${k["tiny"]};
  const ${k["uint"]} bits = as_${k["uint"]}(tiny ? x * ${k["up"]} : x) - ${k["ROOT"]};
  *e = (${t.c})(int)((${k["int"]})bits >> ${k["bits"]}) - (tiny ? ${t.lit(k["lift"])} : ${t.zero});
  return as_${t.c}((bits & ${k["MANTISSA"]}) + ${k["ROOT"]}) - 1;
}
% endif
</%def>

## What a logarithm is where x isn't positive and finite; y elsewhere.
<%def name="log_edges(t, wide)">
% if t.is_float:
static inline ${t.c} log_edges_${t.s}(${t.c} x, ${t.c} y) {
  return x < INFINITY ? (x > 0 ? y : x == 0 ? -INFINITY : NAN) : x;
}
% endif
</%def>

## 1 ulp.
<%def name="log(t, wide)">
% if t.is_float and not wide:
${builtin("log")}
% elif t.is_float:
<% high, low = KINDS[t.s]["LN2"] %>
static inline ${t.c} log_${t.s}(${t.c} x) {
  ${t.c} e;
  const ${t.c} f = log_split_${t.s}(x, &e);
  return log_edges_${t.s}(x, ((e * ${t.lit(low)} + log_tail_${t.s}(f)) + f) + e * ${high});
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
% if t.is_float and not wide:
${builtin("log1p")}
% elif t.is_float:
<% high, low = KINDS[t.s]["LN2"] %>
static inline ${t.c} log1p_${t.s}(${t.c} x) {
  ${t.c} e;
  const ${t.c} u = 1 + x, split = log_split_${t.s}(u, &e);
  const int near = e == 0;
  const ${t.c} lost = x < 1 ? x - (u - 1) : 1 - (u - x);
  const ${t.c} f = near ? x : split, correction = near ? ${t.zero} : lost / u, tail = log_tail_${t.s}(f);
  const ${t.c} far = (f + (tail + (e * ${t.lit(low)} + correction))) + e * ${high};
  return log_edges_${t.s}(u, near ? f + tail : far);
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

## ln(1 + x) for 0 <= x <= 1, 1 ulp: of x up to sqrt(2) - 1, above of 1 + x = 2 * (1 + f).
<%def name="log1p_unit(t, wide)">
% if t.s == "f32":
<% high, low = KINDS["f32"]["LN2"] %>
static inline float log1p_unit_f32(float x) {
  const int far = x > 0.41421357f;
  const float f = far ? 0.5f * x - 0.5f : x, tail = log_tail_f32(f);
  return far ? (f + (tail + ${t.lit(low)})) + ${high} : f + tail;
}
% elif t.s == "f64":
static inline double log1p_unit_f64(double x) { return log1p_f64(x); }
% endif
</%def>

## ln(1 + e^x), 2 ulp, without overflow.
<%def name="softplus(t, wide)">
% if t.is_float:
static inline ${t.c} softplus_${t.s}(${t.c} x) {
  return (x > 0 ? x : ${t.zero}) + log1p_unit_${t.s}(exp_${t.s}(-abs_${t.s}(x)));
}
% endif
</%def>

## x * tanh(softplus(x)) = x * n / (n + 2) with n = e^x (e^x + 2), divided by e^2x where x > 0; 4 ulp.
<%def name="mish(t, wide)">
% if t.is_float:
static inline ${t.c} mish_${t.s}(${t.c} x) {
  const ${t.c} e = exp_${t.s}(-abs_${t.s}(x)), n = x < 0 ? e * (e + 2) : 1 + 2 * e;
  return x * (n / (n + (x < 0 ? 2 : 2 * e * e)));
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
  return a == b && isinf_${t.s}(a) ? a : larger + log1p_unit_${t.s}(exp_${t.s}(-gap));
}
% endif
</%def>

<%def name="log_add_exp2(t, wide)">
% if t.is_float:
static inline ${t.c} log_add_exp2_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} larger = max_${t.s}(a, b), gap = abs_${t.s}(a - b);
  return a == b && isinf_${t.s}(a) ? a : larger + log1p_unit_${t.s}(exp2_${t.s}(-gap)) * ${t.lit(1.4426950408889634)};
}
% endif
</%def>

## 2 ulp: h / (h + 2) with h = e^2|x| - 1 (float64: with half of it), 1 where that rounds to 1.
<%def name="tanh(t, wide)">
% if t.is_float and not wide:
${builtin("tanh")}
% elif t.s == "f32":
<% k = KINDS["f32"] %>
static inline float tanh_f32(float x) {
  const float a = abs_f32(x + x), c = a > 18.04f ? 18.04f : a;
  const float k = c * 1.442695f + 12582912.0f, whole = k - 12582912.0f, f = (c - whole * ${k["LN2"][0]}) - whole * ${t.lit(k["LN2"][1])};
  const float power = as_float((as_uint(k) << 23) + 0x3f800000u), h = power * (f + exp_tail_f32(f)) + (power - 1.0f);
  return copysign_f32(h / (h + 2.0f), x);
}
% elif t.s == "f64":
static inline double tanh_f64(double x) {
  const double a = abs_f64(x), h = expm1_half_f64(a > 22.0 ? 44.0 : 2.0 * a);
  return a < 0x1p-28 ? x : copysign_f64(h / (h + 1.0), x);
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
