<%doc>
Functions of complex numbers, (real, imaginary) in the .x and .y of a float2 or double2. abs, add, sub, mul, mad, neg, eq, ne and the tests
are in basic.mako, div in division.mako. angle, real, imag and abs give a real number. Branch cuts are C's and PyTorch's. A def
complex_exp writes exp_c64 and exp_c128: the real exp is in another file.
</%doc>

<%def name="real(t, wide)">
% if t.is_complex:
static inline ${t.real.c} real_${t.s}(${t.c} z) { return z.x; }
% else:
static inline ${t.c} real_${t.s}(${t.c} x) { return x; }
% endif
</%def>

<%def name="imag(t, wide)">
% if t.is_complex:
static inline ${t.real.c} imag_${t.s}(${t.c} z) { return z.y; }
% endif
</%def>

## Real types: itself, so that kernels can conjugate without asking.
<%def name="conj(t, wide)">
% if t.is_complex:
static inline ${t.c} conj_${t.s}(${t.c} z) { return (${t.c})(z.x, -z.y); }
% else:
static inline ${t.c} conj_${t.s}(${t.c} x) { return x; }
% endif
</%def>

## |z|^2 as a real number: x * x for real types.
<%def name="abs2(t, wide)">
% if t.is_complex:
static inline ${t.real.c} abs2_${t.s}(${t.c} z) { return z.x * z.x + z.y * z.y; }
% else:
static inline ${t.c} abs2_${t.s}(${t.c} x) { return mul_${t.s}(x, x); }
% endif
</%def>

## Of real types: 0 or pi, NaN for NaN.
<%def name="angle(t, wide)">
% if t.is_complex:
static inline ${t.real.c} angle_${t.s}(${t.c} z) { return atan2_${t.real.s}(z.y, z.x); }
% elif t.is_float:
static inline ${t.c} angle_${t.s}(${t.c} x) { return x != x ? x : x < 0 ? ${t.lit(3.141592653589793)} : ${t.zero}; }
% endif
</%def>

<%def name="polar(t, wide)">
% if t.is_complex:
static inline ${t.c} polar_${t.s}(${t.real.c} size, ${t.real.c} angle) {
  return (${t.c})(size * cos_${t.real.s}(angle), size * sin_${t.real.s}(angle));
}
% endif
</%def>

## z / |z|, 0 for 0.
<%def name="sgn(t, wide)">
% if t.is_complex:
static inline ${t.c} sgn_${t.s}(${t.c} z) {
  const ${t.real.c} size = abs_${t.s}(z);
  return size == 0 ? (${t.c})(0, 0) : z / size;
}
% else:
static inline ${t.c} sgn_${t.s}(${t.c} x) { return sign_${t.s}(x); }
% endif
</%def>

## The point on the Riemann sphere: every infinity is the one at (infinity, +-0).
<%def name="proj(t, wide)">
% if t.is_complex:
static inline ${t.c} proj_${t.s}(${t.c} z) {
  return isinf_${t.s}(z) ? (${t.c})(INFINITY, copysign_${t.real.s}(${t.real.zero}, z.y)) : z;
}
% endif
</%def>

<%def name="reciprocal(t, wide)">
% if t.is_complex:
static inline ${t.c} reciprocal_${t.s}(${t.c} z) { return div_${t.s}((${t.c})(1, 0), z); }
% elif t.is_float:
static inline ${t.c} reciprocal_${t.s}(${t.c} x) { return 1 / x; }
% endif
</%def>
<%def name="complex_exp(t, wide)">
% if t.is_complex:
static inline ${t.c} exp_${t.s}(${t.c} z) {
  const ${t.real.c} size = exp_${t.real.s}(z.x);
  return z.y == 0 ? (${t.c})(size, z.y) : size == 0 ? (${t.c})(0, 0) : (${t.c})(size * cos_${t.real.s}(z.y), size * sin_${t.real.s}(z.y));
}
% endif
</%def>

## e^x cos y - 1 without cancellation: (e^x - 1) cos y - 2 sin^2(y / 2).
<%def name="complex_expm1(t, wide)">
% if t.is_complex:
static inline ${t.c} expm1_${t.s}(${t.c} z) {
  const ${t.real.c} e = expm1_${t.real.s}(z.x), half_sine = sin_${t.real.s}(${t.real.lit(0.5)} * z.y);
  return (${t.c})(e * cos_${t.real.s}(z.y) - 2 * half_sine * half_sine, (e + 1) * sin_${t.real.s}(z.y));
}
% endif
</%def>

<%def name="complex_exp2(t, wide)">
% if t.is_complex:
static inline ${t.c} exp2_${t.s}(${t.c} z) {
  return exp_${t.s}(z * ${t.real.lit(0.6931471805599453)});
}
% endif
</%def>

## ln |z| by log1p where |z| is near 1.
<%def name="complex_log(t, wide)">
% if t.is_complex:
static inline ${t.c} log_${t.s}(${t.c} z) {
  const ${t.real.c} a = abs_${t.real.s}(z.x), b = abs_${t.real.s}(z.y), large = a > b ? a : b, small = a > b ? b : a;
  const ${t.real.c} excess = (large - 1) * (large + 1) + small * small;
  const int near = large > ${t.real.lit(0.5)} && large < 2;
  const ${t.real.c} size = near ? ${t.real.lit(0.5)} * log1p_${t.real.s}(excess) : log_${t.real.s}(abs_${t.s}(z));
  return (${t.c})(size, angle_${t.s}(z));
}
% endif
</%def>

<%def name="complex_log2(t, wide)">
% if t.is_complex:
static inline ${t.c} log2_${t.s}(${t.c} z) {
  return log_${t.s}(z) * ${t.real.lit(1.4426950408889634)};
}
% endif
</%def>

<%def name="complex_log10(t, wide)">
% if t.is_complex:
static inline ${t.c} log10_${t.s}(${t.c} z) {
  return log_${t.s}(z) * ${t.real.lit(0.4342944819032518)};
}
% endif
</%def>

## ln |1 + z| from |1 + z|^2 - 1 = x (2 + x) + y^2.
<%def name="complex_log1p(t, wide)">
% if t.is_complex:
static inline ${t.c} log1p_${t.s}(${t.c} z) {
  const ${t.real.c} excess = z.x * (2 + z.x) + z.y * z.y;
  const int near = excess < 1 && excess > ${t.real.lit(-0.5)};
  const ${t.real.c} size = near ? ${t.real.lit(0.5)} * log1p_${t.real.s}(excess) : log_${t.real.s}(hypot_${t.real.s}(1 + z.x, z.y));
  return (${t.c})(size, atan2_${t.real.s}(z.y, 1 + z.x));
}
% endif
</%def>

<%def name="complex_sqrt(t, wide)">
% if t.is_complex:
static inline ${t.c} sqrt_${t.s}(${t.c} z) {
  const ${t.real.c} half_x = ${t.real.lit(0.5)} * abs_${t.real.s}(z.x), half_size = ${t.real.lit(0.5)} * abs_${t.s}(z);
  const ${t.real.c} root = sqrt_${t.real.s}(half_x + half_size), other = z.y / (2 * root);
  if (isinf_${t.real.s}(z.y)) return (${t.c})(INFINITY, z.y);
  if (root == 0) return (${t.c})(0, z.y);
  return z.x >= 0 ? (${t.c})(root, other) : z.x < 0 ? (${t.c})(abs_${t.real.s}(other), copysign_${t.real.s}(root, z.y)) : (${t.c})(NAN, NAN);
}
% endif
</%def>

<%def name="complex_rsqrt(t, wide)">
% if t.is_complex:
static inline ${t.c} rsqrt_${t.s}(${t.c} z) {
  return reciprocal_${t.s}(sqrt_${t.s}(z));
}
% endif
</%def>

<%def name="complex_sin(t, wide)">
% if t.is_complex:
static inline ${t.c} sin_${t.s}(${t.c} z) {
  return (${t.c})(sin_${t.real.s}(z.x) * cosh_${t.real.s}(z.y), cos_${t.real.s}(z.x) * sinh_${t.real.s}(z.y));
}
% endif
</%def>

<%def name="complex_cos(t, wide)">
% if t.is_complex:
static inline ${t.c} cos_${t.s}(${t.c} z) {
  return (${t.c})(cos_${t.real.s}(z.x) * cosh_${t.real.s}(z.y), -sin_${t.real.s}(z.x) * sinh_${t.real.s}(z.y));
}
% endif
</%def>

<%def name="complex_sinh(t, wide)">
% if t.is_complex:
static inline ${t.c} sinh_${t.s}(${t.c} z) {
  return (${t.c})(sinh_${t.real.s}(z.x) * cos_${t.real.s}(z.y), cosh_${t.real.s}(z.x) * sin_${t.real.s}(z.y));
}
% endif
</%def>

<%def name="complex_cosh(t, wide)">
% if t.is_complex:
static inline ${t.c} cosh_${t.s}(${t.c} z) {
  return (${t.c})(cosh_${t.real.s}(z.x) * cos_${t.real.s}(z.y), sinh_${t.real.s}(z.x) * sin_${t.real.s}(z.y));
}
% endif
</%def>

<%def name="complex_tanh(t, wide)">
% if t.is_complex:
static inline ${t.c} tanh_${t.s}(${t.c} z) {
  const ${t.real.c} a = abs_${t.real.s}(z.x), one = copysign_${t.real.s}(${t.real.one}, z.x);
  if (a > ${11 if t.s == "c64" else 22}) return (${t.c})(one, 2 * sin_${t.real.s}(2 * z.y) * exp_${t.real.s}(-2 * a));
  const ${t.real.c} tangent = tan_${t.real.s}(z.y), sine = sinh_${t.real.s}(z.x), slope = 1 + tangent * tangent;
  const ${t.real.c} scale = 1 / (1 + slope * sine * sine);
  return (${t.c})(slope * sqrt_${t.real.s}(1 + sine * sine) * sine * scale, tangent * scale);
}
% endif
</%def>

## -i tanh(i z).
<%def name="complex_tan(t, wide)">
% if t.is_complex:
static inline ${t.c} tan_${t.s}(${t.c} z) {
  const ${t.c} w = tanh_${t.s}((${t.c})(-z.y, z.x));
  return (${t.c})(w.y, -w.x);
}
% endif
</%def>

## By the roots of 1 - z and 1 + z, which keep the branch cuts.
<%def name="complex_asin(t, wide)">
% if t.is_complex:
static inline ${t.c} asin_${t.s}(${t.c} z) {
  const ${t.c} below = sqrt_${t.s}((${t.c})(1 - z.x, -z.y)), above = sqrt_${t.s}((${t.c})(1 + z.x, z.y));
  return (${t.c})(atan2_${t.real.s}(z.x, below.x * above.x - below.y * above.y), asinh_${t.real.s}(below.x * above.y - below.y * above.x));
}
% endif
</%def>

<%def name="complex_acos(t, wide)">
% if t.is_complex:
static inline ${t.c} acos_${t.s}(${t.c} z) {
  const ${t.c} below = sqrt_${t.s}((${t.c})(1 - z.x, -z.y)), above = sqrt_${t.s}((${t.c})(1 + z.x, z.y));
  return (${t.c})(2 * atan2_${t.real.s}(below.x, above.x), asinh_${t.real.s}(above.x * below.y - above.y * below.x));
}
% endif
</%def>

## -i asin(i z).
<%def name="complex_asinh(t, wide)">
% if t.is_complex:
static inline ${t.c} asinh_${t.s}(${t.c} z) {
  const ${t.c} w = asin_${t.s}((${t.c})(-z.y, z.x));
  return (${t.c})(w.y, -w.x);
}
% endif
</%def>

<%def name="complex_acosh(t, wide)">
% if t.is_complex:
static inline ${t.c} acosh_${t.s}(${t.c} z) {
  const ${t.c} below = sqrt_${t.s}((${t.c})(z.x - 1, z.y)), above = sqrt_${t.s}((${t.c})(z.x + 1, z.y));
  return (${t.c})(asinh_${t.real.s}(below.x * above.x + below.y * above.y), 2 * atan2_${t.real.s}(below.y, above.x));
}
% endif
</%def>

<%def name="complex_atanh(t, wide)">
% if t.is_complex:
static inline ${t.c} atanh_${t.s}(${t.c} z) {
  const ${t.real.c} a = abs_${t.real.s}(z.x), left = 1 - a, square = z.y * z.y;
  const ${t.real.c} size = ${t.real.lit(0.25)} * log1p_${t.real.s}(4 * a / (left * left + square));
  return (${t.c})(copysign_${t.real.s}(size, z.x), ${t.real.lit(0.5)} * atan2_${t.real.s}(2 * z.y, left * (1 + a) - square));
}
% endif
</%def>

## -i atanh(i z).
<%def name="complex_atan(t, wide)">
% if t.is_complex:
static inline ${t.c} atan_${t.s}(${t.c} z) {
  const ${t.c} w = atanh_${t.s}((${t.c})(-z.y, z.x));
  return (${t.c})(w.y, -w.x);
}
% endif
</%def>

<%def name="complex_sigmoid(t, wide)">
% if t.is_complex:
static inline ${t.c} sigmoid_${t.s}(${t.c} z) {
  return reciprocal_${t.s}((${t.c})(1, 0) + exp_${t.s}(-z));
}
% endif
</%def>

## e^(w ln z); 0 to a power with positive real part is 0, anything to 0 is 1.
<%def name="complex_pow(t, wide)">
% if t.is_complex:
static inline ${t.c} pow_${t.s}(${t.c} z, ${t.c} w) {
  if (w.x == 0 && w.y == 0) return (${t.c})(1, 0);
  if (z.x == 0 && z.y == 0 && w.x > 0) return (${t.c})(0, 0);
  return exp_${t.s}(mul_${t.s}(w, log_${t.s}(z)));
}
% endif
</%def>
