<%doc>
Special functions: erf erfc erfcx erfinv lgamma digamma trigamma polygamma zeta i0 i0e i1 i1e ndtr ndtri log_ndtr entr xlogy xlog1py. erf, erfc,
erfcx and erfinv are plain C without branches in float32 and strategy wide; the gamma and Bessel functions loop, in every strategy, because
OpenCL has no built-in of them. Errors in ulp, measured by tests/test_math_accuracy.py.
</%doc>
<%!
# (1 + 2 a) e^(a^2) erfc(a) over t = (a - 2) / (a + 2), which maps a >= 0 to [-1, 1]; near-minimax
ERFCX = {
    "f32": (1.2769784, -0.092763826, -0.1660301, 0.16405061, -0.054222528, -0.008024949, 0.008731906, 0.0012303087, -0.0014754966,
            -0.00037024202, 0.00023019857, 6.769019e-05, -2.2776589e-05),
    "f64": (1.2769783815525286, -0.09276382658574601, -0.16603039761528887, 0.16405128003344435, -0.0542200009920715,
            -0.00803401508255676, 0.008722653876615234, 0.0012713389694302367, -0.001456813958951259, -0.0004543408810073677,
            0.00020636730260351942, 0.00015103960521668284, -1.5102949324657337e-06, -3.6425686289814425e-05, -1.3491277055214134e-05,
            3.7192614944510755e-06, 5.219235619425839e-06, 1.482500436989269e-06, -6.846546415779968e-07, -7.969725689317889e-07,
            -2.81426167004558e-07, 9.073828716630504e-08, 1.837872065324162e-07, 6.839438170994347e-08, -4.7360279984106636e-08,
            -3.9159523146678576e-08, 5.479914992298808e-09, 9.346651347860507e-09, -1.0734424661640611e-10, -9.338946143347172e-10)}
# near-minimax: log2(erfc(a)) / a up to 3.95, (log2(erfc(a / sqrt(2)) / 2) + 1) / a up to 5.6 and falling beyond, (2^f - 1) / f up to 1/2,
# erfc(a / sqrt(2)) e^(a^2 / 2) / 2 - a / sqrt(2 pi) up to 8, the less exactly the larger the power
LOG2_ERFC = (-1.627907, -0.9184476, -0.14827706, 0.02763203, 0.00023140213, -0.0024050118, 0.0009129904, -0.00016972043, 1.3353963e-05)
LOG2_NORMAL_TAIL = (-1.1511043, -0.45922154, -0.05243303, 0.0069234697, 2.998923e-05, -0.00029997976, 8.417791e-05, -1.26146e-05,
                    1.0427299e-06, -3.7183593e-08)
EXP2_LESS_1 = (0.6931472, 0.2402265, 0.05550357, 0.009618238, 0.0013390965, 0.00015403504)
MILLS_LESS_A = (0.5, -0.79788345, 0.24997772, -0.13282648, 0.0619688, -0.025529793, 0.0090508582, -0.0026145354, 0.00057176722, -8.6428183e-05,
                7.8979228e-06, -3.247512e-07)
ERFINV_NEAR = (1.5014094, 0.24664028, -0.0041776663, -0.0012527239, 0.00021857349, -4.9742125e-06, -3.5223543e-06, 4.6842177e-07,
               2.806407e-08, -8.942634e-09)
ERFINV_FAR = (2.8329768, 1.0016752, 0.0094452, -0.007640942, 0.005686322, -0.0035832739, 0.0014880849, -7.8007695e-05, -0.00031234784,
              0.00012672022)
PI, SQRT_HALF, LOG2_E, NORMAL_DENSITY = 3.141592653589793, 0.7071067811865476, 1.4426950408889634, 0.3989422804014327
%>

## 2 ulp: 1 - 2^p(|x|), the power less 1 taken exactly; 1 where that rounds to 1.
<%def name="erf(t, wide)">
% if native:
${builtin("erf")}
% elif t.s == "f32":
static inline float erf_f32(float x) {
  const float a = abs_f32(x), c = a > 3.95f ? 3.95f : a, p = c * ${poly("c", LOG2_ERFC)};
  const float k = p + 12582912.0f, f = p - (k - 12582912.0f), power = as_float((as_uint(k) << 23) + 0x3f800000u);
  return copysign_f32((1.0f - power) - power * (f * ${poly("f", EXP2_LESS_1)}), x);
}
% endif
</%def>

## 2^p where that is a normal number, without what exp2 does about limits and infinities.
<%def name="near_exp2(t, wide)">
% if t.s == "f32":
static inline float near_exp2_f32(float p) {
  const float k = p + 12582912.0f, f = p - (k - 12582912.0f);
  return (1.0f + f * ${poly("f", EXP2_LESS_1)}) * as_float((as_uint(k) << 23) + 0x3f800000u);
}
% endif
</%def>

## 2^p for p <= 0: 0 where that is no normal number.
<%def name="vanishing_exp2(t, wide)">
% if t.s == "f32":
static inline float vanishing_exp2_f32(float p) { return near_exp2_f32(p < -127.0f ? -127.0f : p); }
% elif t.s == "f64":
static inline double vanishing_exp2_f64(double p) { return exp2_f64(p); }
% endif
</%def>

## The normal distribution's mass beyond a, erfc(a / sqrt(2)) / 2, for 0 <= a <= 10: exact to 2^-25 in itself, not to its last places where it is
## small (float64: from erfc).
<%def name="normal_tail(t, wide)">
% if t.s == "f32":
static inline float normal_tail_f32(float a) { return near_exp2_f32(a * ${poly("a", LOG2_NORMAL_TAIL)} - 1.0f); }
% elif t.s == "f64":
static inline double normal_tail_f64(double a) { return 0.5 * erfc_f64(a * ${t.lit(SQRT_HALF)}); }
% endif
</%def>

## Where the tail is cut off: 2^-87 there (float64: 0 at 40).
<%def name="normal_bounded(t, wide)">
% if t.is_float:
<% most = t.lit(10.0 if t.s == "f32" else 40.0) %>
static inline ${t.c} normal_bounded_${t.s}(${t.c} x) {
  const ${t.c} a = abs_${t.s}(x);
  return a > ${most} ? ${most} : a;
}
% endif
</%def>

## x times the normal distribution function: 2 ulp where x > 0, 2^-25 |x| elsewhere.
<%def name="gelu(t, wide)">
% if t.is_float:
static inline ${t.c} gelu_${t.s}(${t.c} x) {
  const ${t.c} a = normal_bounded_${t.s}(x);
  return (x > 0 ? x : 0) - a * normal_tail_${t.s}(a);
}
% endif
</%def>

## gelu's derivative, the normal distribution function plus x times its density: to 2^-23. Of x and -x they are 1 together, so that the part on the left
## does, which is one power times one polynomial, neither waiting for the other (float64: two powers).
<%def name="gelu_slope(t, wide)">
% if t.s == "f32":
static inline float gelu_slope_f32(float x) {
  const float a = abs_f32(x) > 8.0f ? 8.0f : abs_f32(x), left = near_exp2_f32(a * a * ${t.lit(-0.5 * LOG2_E)}) * ${poly("a", MILLS_LESS_A)};
  return x > 0 ? 1.0f - left : left;
}
% elif t.s == "f64":
static inline double gelu_slope_f64(double x) {
  const double tail = normal_tail_f64(normal_bounded_f64(x));
  return (x > 0 ? 1 - tail : tail) + x * ${t.lit(NORMAL_DENSITY)} * exp_f64(x * x * -0.5);
}
% endif
</%def>

## e^(a^2) erfc(a) for 0 <= a <= 10^9.
<%def name="erfcx_right(t, wide)">
% if t.is_float:
static inline ${t.c} erfcx_right_${t.s}(${t.c} a) {
  const ${t.c} u = (a - 2) / (a + 2);
  return ${t.lit(0.5)} * ${poly("u", ERFCX[t.s])} / (${t.lit(0.5)} + a);
}
% endif
</%def>

## 4 ulp down to the smallest subnormal: e^(-a^2) with the rounding error of the square put back.
<%def name="erfc(t, wide)">
% if native:
${builtin("erfc")}
% elif t.s == "f32":
static inline float erfc_f32(float x) {
  const float a = abs_f32(x) > 10.19f ? 10.19f : abs_f32(x), head = head_f32(a);
  const float square = head * head, rest = (a - head) * (a + head), s = square + rest, lost = rest - (s - square);
  int n;
  float f;
  const float tail = exp_split_f32(-s, &n, &f);
  const float power = 1.0f + (f + (tail - lost * (1.0f + (f + tail))));
  const float y = scale_f32(power * erfcx_right_f32(a), n);
  return x != x ? x : x < 0.0f ? 2.0f - y : y;
}
% endif
</%def>

## e^(x^2) erfc(x): overflows below -9.4 in float32.
<%def name="erfcx(t, wide)">
% if t.is_float:
static inline ${t.c} erfcx_${t.s}(${t.c} x) {
  const ${t.c} a = abs_${t.s}(x), y = a < ${t.lit(1e9)} ? erfcx_right_${t.s}(a) : ${t.lit(0.5641895835477563)} / a;
  return x < 0 ? 2 * exp_${t.s}(x * x) - y : y;
}
% endif
</%def>

## 3 ulp. Polynomials of w = -ln(1 - x^2), near 0, and of sqrt(w), near 1; float64 improves a rough
## guess by Halley's steps on erf or erfc.
<%def name="erfinv(t, wide)">
% if t.s == "f32":
static inline float erfinv_f32(float x) {
  const float w = -log_f32((1.0f - x) * (1.0f + x)), u = w - 2.5f, v = sqrt_f32(w) - 3.0f;
  const float near = ${poly("u", ERFINV_NEAR)};
  const float far = ${poly("v", ERFINV_FAR)};
  const float a = abs_f32(x);
  return a == 1.0f ? x * INFINITY : a > 1.0f ? NAN : x * (w < 5.0f ? near : far);
}
% elif t.s == "f64":
static inline double erfinv_f64(double x) {
  const double a = fabs(x);
  if (!(a < 1.0)) return a == 1.0 ? x * INFINITY : NAN;
  const double w = -log((1.0 - a) * (1.0 + a));
  double y = a < 0.9 ? a * (0.886 + 0.23 * a * a) : sqrt(w - 0.5 * log(w * ${t.lit(PI)}));
  for (int step = 0; step < 6; step++) {
    const double error = a < 0.5 ? erf(y) - a : (1.0 - a) - erfc(y);
    const double newton = error * 0.886226925452758 * exp(y * y);
    y -= newton / (1.0 + y * newton);
  }
  return copysign(y, x);
}
% endif
</%def>

## The driver's: 3 ulp away from the zeros between the poles of negative x.
<%def name="lgamma(t, wide)">
% if t.is_float:
${builtin("lgamma")}
% endif
</%def>

## Derivative of lgamma; NaN at negative integers; 8 ulp of the larger of its value and 1. Up to the series by psi(x) = psi(x + 1) - 1 / x.
<%def name="digamma(t, wide)">
% if t.is_float:
static inline ${t.c} digamma_${t.s}(${t.c} x) {
  if (x == 0) return copysign_${t.s}(INFINITY, -x);
  ${t.c} y = 0;
  if (x < 0) {
    if (floor_${t.s}(x) == x) return NAN;
    y = ${t.lit(-PI)} * cospi_${t.s}(x) / sinpi_${t.s}(x);
    x = 1 - x;
  }
  for (int k = 0; k < 10 && x < ${4 if t.s == "f32" else 10}; k++) {
    y -= 1 / x;
    x += 1;
  }
  const ${t.c} z = 1 / (x * x);
  const ${t.c} series = z * ${poly("z", [1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12])};
  return y + (log_${t.s}(x) - ${t.lit(0.5)} / x - series);
}
% endif
</%def>

## Derivative of digamma; infinite at negative integers.
<%def name="trigamma(t, wide)">
% if t.is_float:
static inline ${t.c} trigamma_${t.s}(${t.c} x) {
  ${t.c} mirrored = 0, y = 0;
  const int left = x < ${t.lit(0.5)};
  if (left) {
    const ${t.c} s = sinpi_${t.s}(x);
    mirrored = ${t.lit(PI * PI)} / (s * s);
    x = 1 - x;
  }
  for (int k = 0; k < 10 && x < 10; k++) {
    y += 1 / (x * x);
    x += 1;
  }
  const ${t.c} r = 1 / x, z = r * r;
  y += r + z * ${t.lit(0.5)} + z * r * ${poly("z", [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6])};
  return left ? mirrored - y : y;
}
% endif
</%def>

## Hurwitz's zeta(s, q) = sum over k >= 0 of (q + k)^-s, by Euler and Maclaurin after at least nine terms.
<%def name="zeta(t, wide)">
% if t.is_float:
static inline ${t.c} zeta_${t.s}(${t.c} s, ${t.c} q) {
  if (s == 1) return INFINITY;
  if (!(s > 1) || q != q) return NAN;
  if (q == INFINITY) return 0;
  if (q <= 0) {
    if (q == floor_${t.s}(q)) return INFINITY;
    if (s != floor_${t.s}(s)) return NAN;
  }
  ${t.c} sum = 0, term = 1;
  for (int k = 0; k < 9 || q <= 9; k++) {
    term = pow_${t.s}(q, -s);
    sum += term;
    q += 1;
    if (q > 0 && term < ${t.lit(1e-17)} * abs_${t.s}(sum)) return sum;
  }
  term = pow_${t.s}(q, -s);
  sum += term * q / (s - 1) + ${t.lit(0.5)} * term;
  term *= s / q;
% for j, factor in enumerate((1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)):
  sum += ${t.lit(factor)} * term;
  term *= (s + ${2 * j + 1}) / q * ((s + ${2 * j + 2}) / q);
% endfor
  return sum;
}
% endif
</%def>

## n-th derivative of digamma.
<%def name="polygamma(t, wide)">
% if t.is_float:
static inline ${t.c} polygamma_${t.s}(${t.c} n, ${t.c} x) {
  if (n == 0) return digamma_${t.s}(x);
  if (n == 1) return trigamma_${t.s}(x);
  ${t.c} factorial = 1;
  for (${t.c} k = 2; k <= n; k += 1) factorial *= k;
  const ${t.c} y = factorial * zeta_${t.s}(n + 1, x);
  return floor_${t.s}(n * ${t.lit(0.5)}) * 2 == n ? -y : y;
}
% endif
</%def>

## e^-|x| times the modified Bessel function of order 0, 12 ulp: the power series up to 20, the asymptotic one beyond.
<%def name="i0e(t, wide)">
% if t.is_float:
static inline ${t.c} i0e_${t.s}(${t.c} x) {
  const ${t.c} a = abs_${t.s}(x);
  ${t.c} sum = 1, term = 1;
  if (a < 20) {
    const ${t.c} z = a * a * ${t.lit(0.25)};
    for (${t.c} k = 1; k < 60 && term > sum * ${t.lit(1e-18)}; k += 1) sum += term *= z / (k * k);
    return sum * exp_${t.s}(-a);
  }
  for (${t.c} k = 1; k < 25; k += 1) sum += term *= (2 * k - 1) * (2 * k - 1) / (8 * k * a);
  return sum / (${t.lit(2.5066282746310002)} * sqrt_${t.s}(a));
}
% endif
</%def>

<%def name="i0(t, wide)">
% if t.is_float:
static inline ${t.c} i0_${t.s}(${t.c} x) {
  const ${t.c} half_way = exp_${t.s}(${t.lit(0.5)} * abs_${t.s}(x));
  return isinf_${t.s}(x) ? INFINITY : i0e_${t.s}(x) * half_way * half_way;
}
% endif
</%def>

## The same of order 1, an odd function.
<%def name="i1e(t, wide)">
% if t.is_float:
static inline ${t.c} i1e_${t.s}(${t.c} x) {
  const ${t.c} a = abs_${t.s}(x);
  ${t.c} sum = 1, term = 1;
  if (a < 20) {
    const ${t.c} z = a * a * ${t.lit(0.25)};
    for (${t.c} k = 1; k < 60 && term > sum * ${t.lit(1e-18)}; k += 1) sum += term *= z / (k * (k + 1));
    return x * ${t.lit(0.5)} * sum * exp_${t.s}(-a);
  }
  for (${t.c} k = 1; k < 25; k += 1) sum += term *= ((2 * k - 1) * (2 * k - 1) - 4) / (8 * k * a);
  return copysign_${t.s}(sum / (${t.lit(2.5066282746310002)} * sqrt_${t.s}(a)), x);
}
% endif
</%def>

<%def name="i1(t, wide)">
% if t.is_float:
static inline ${t.c} i1_${t.s}(${t.c} x) {
  const ${t.c} half_way = exp_${t.s}(${t.lit(0.5)} * abs_${t.s}(x));
  return isinf_${t.s}(x) ? x : i1e_${t.s}(x) * half_way * half_way;
}
% endif
</%def>

## The normal distribution's cumulative probability, and its logarithm without underflow.
<%def name="ndtr(t, wide)">
% if t.is_float:
static inline ${t.c} ndtr_${t.s}(${t.c} x) { return ${t.lit(0.5)} * erfc_${t.s}(-x * ${t.lit(SQRT_HALF)}); }
% endif
</%def>

<%def name="log_ndtr(t, wide)">
% if t.is_float:
static inline ${t.c} log_ndtr_${t.s}(${t.c} x) {
  const ${t.c} u = x * ${t.lit(SQRT_HALF)};
  return x < -1 ? log_${t.s}(erfcx_${t.s}(-u) * ${t.lit(0.5)}) - u * u : log1p_${t.s}(${t.lit(-0.5)} * erfc_${t.s}(u));
}
% endif
</%def>

## The inverse of ndtr, 6 ulp, in the tails too: there by Newton's steps on log_ndtr from an asymptotic guess.
<%def name="ndtri(t, wide)">
% if t.is_float:
static inline ${t.c} ndtri_${t.s}(${t.c} p) {
  if (p > ${t.lit(0.2)} && p < ${t.lit(0.8)}) return ${t.lit(2**0.5)} * erfinv_${t.s}(2 * p - 1);
  if (!(p > 0 && p < 1)) return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
  const ${t.c} wanted = log_${t.s}(p < ${t.lit(0.5)} ? p : 1 - p), size = -2 * wanted;
  ${t.c} y = -sqrt_${t.s}(max_${t.s}(size - log_${t.s}(${t.lit(2 * PI)} * size), ${t.lit(0.5)}));
  for (int step = 0; step < 5; step++) {
    const ${t.c} l = log_ndtr_${t.s}(y);
    y -= (l - wanted) * ${t.lit((2 * PI)**0.5)} * exp_${t.s}(l + ${t.lit(0.5)} * y * y);
  }
  return p < ${t.lit(0.5)} ? y : -y;
}
% endif
</%def>

## -x ln x; 0 at 0, -infinity below.
<%def name="entr(t, wide)">
% if t.is_float:
static inline ${t.c} entr_${t.s}(${t.c} x) { return x == 0 ? ${t.zero} : x < 0 ? -INFINITY : -x * log_${t.s}(x); }
% endif
</%def>

## x ln y and x ln(1 + y), 0 where x is 0 unless y is NaN.
<%def name="xlogy(t, wide)">
% if t.is_float:
static inline ${t.c} xlogy_${t.s}(${t.c} x, ${t.c} y) { return y != y ? y : x == 0 ? ${t.zero} : x * log_${t.s}(y); }
% endif
</%def>

<%def name="xlog1py(t, wide)">
% if t.is_float:
static inline ${t.c} xlog1py_${t.s}(${t.c} x, ${t.c} y) { return y != y ? y : x == 0 ? ${t.zero} : x * log1p_${t.s}(y); }
% endif
</%def>
