<%doc>
Arithmetic every type has, comparison, classification and rounding. add sub mul mad neg eq ne exist for all types, complex too, so that
kernels can be written once; integers wrap, bool adds as "or" and multiplies as "and".
Suffix rule: name_<suffix>. Tests of a value (isnan, signbit, ...) return uchar 0 or 1.
</%doc>
<%!
UNSIGNED = {"i8": "uchar", "i16": "ushort", "i32": "uint", "i64": "ulong", "u8": "uchar"}
BITS = {"f32": ("uint", "0x80000000u", "0x7fffffffu", "0x7f800000u"),
        "f64": ("ulong", "0x8000000000000000UL", "0x7fffffffffffffffUL", "0x7ff0000000000000UL")}
%>

<%def name="add(t, wide)">
% if t.is_bool:
static inline uchar add_b8(uchar a, uchar b) { return a | b; }
% elif t.is_integral:
static inline ${t.c} add_${t.s}(${t.c} a, ${t.c} b) { return (${t.c})((${UNSIGNED[t.s]})a + (${UNSIGNED[t.s]})b); }
% else:
static inline ${t.c} add_${t.s}(${t.c} a, ${t.c} b) { return a + b; }
% endif
</%def>

<%def name="sub(t, wide)">
% if t.is_integral:
static inline ${t.c} sub_${t.s}(${t.c} a, ${t.c} b) { return (${t.c})((${UNSIGNED[t.s]})a - (${UNSIGNED[t.s]})b); }
% elif not t.is_bool:
static inline ${t.c} sub_${t.s}(${t.c} a, ${t.c} b) { return a - b; }
% endif
</%def>

<%def name="mul(t, wide)">
% if t.is_complex:
static inline ${t.c} mul_${t.s}(${t.c} a, ${t.c} b) { return (${t.c})(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
% elif t.is_bool:
static inline uchar mul_b8(uchar a, uchar b) { return a & b; }
% elif t.is_integral:
## short * short may overflow int, so multiply as uint at least
<% wide_type = "ulong" if t.s == "i64" else "uint" %>
static inline ${t.c} mul_${t.s}(${t.c} a, ${t.c} b) { return (${t.c})((${wide_type})a * (${wide_type})b); }
% else:
static inline ${t.c} mul_${t.s}(${t.c} a, ${t.c} b) { return a * b; }
% endif
</%def>

## a * b + c, contracted where the device contracts.
<%def name="mad(t, wide)">
% if t.is_float:
static inline ${t.c} mad_${t.s}(${t.c} a, ${t.c} b, ${t.c} c) { return a * b + c; }
% elif t.is_complex:
static inline ${t.c} mad_${t.s}(${t.c} a, ${t.c} b, ${t.c} c) {
  return (${t.c})(a.x * b.x - a.y * b.y + c.x, a.x * b.y + a.y * b.x + c.y);
}
% else:
static inline ${t.c} mad_${t.s}(${t.c} a, ${t.c} b, ${t.c} c) { return add_${t.s}(mul_${t.s}(a, b), c); }
% endif
</%def>

<%def name="neg(t, wide)">
% if t.is_integral:
static inline ${t.c} neg_${t.s}(${t.c} x) { return (${t.c})(0 - (${UNSIGNED[t.s]})x); }
% elif not t.is_bool:
static inline ${t.c} neg_${t.s}(${t.c} x) { return -x; }
% endif
</%def>

<%def name="eq(t, wide)">
% if t.is_complex:
static inline uchar eq_${t.s}(${t.c} a, ${t.c} b) { return a.x == b.x && a.y == b.y; }
% elif t.is_float and wide:
## PyPI's PoCL (LLVM 14) leaves a loop over float == scalar, five times as slow as these two comparisons.
static inline uchar eq_${t.s}(${t.c} a, ${t.c} b) { return ((a >= b) + (a <= b)) >> 1; }
% else:
static inline uchar eq_${t.s}(${t.c} a, ${t.c} b) { return a == b; }
% endif
</%def>

<%def name="ne(t, wide)">
% if t.is_complex:
static inline uchar ne_${t.s}(${t.c} a, ${t.c} b) { return a.x != b.x || a.y != b.y; }
% else:
static inline uchar ne_${t.s}(${t.c} a, ${t.c} b) { return a != b; }
% endif
</%def>

## Order for sorting and searching: NaN is larger than every number and equal to itself.
<%def name="less(t, wide)">
% if t.is_float:
static inline uchar less_${t.s}(${t.c} a, ${t.c} b) { return a < b || (a == a && b != b); }
% elif not t.is_complex:
static inline uchar less_${t.s}(${t.c} a, ${t.c} b) { return a < b; }
% endif
</%def>

## Magnitude. Floats by bit mask (fabs is a call on PoCL); the lowest integer wraps to itself; of complex numbers the length.
<%def name="abs(t, wide)">
% if t.is_float:
static inline ${t.c} abs_${t.s}(${t.c} x) { return as_${t.c}(as_${BITS[t.s][0]}(x) & ${BITS[t.s][2]}); }
% elif t.is_complex:
static inline ${t.real.c} abs_${t.s}(${t.c} z) { return hypot_${t.real.s}(z.x, z.y); }
% elif t.is_signed:
static inline ${t.c} abs_${t.s}(${t.c} x) { return x < 0 ? (${t.c})(0 - (${UNSIGNED[t.s]})x) : x; }
% else:
static inline ${t.c} abs_${t.s}(${t.c} x) { return x; }
% endif
</%def>

## -1, 0 or 1; NaN gives 0, as PyTorch's (x > 0) - (x < 0) does.
<%def name="sign(t, wide)">
% if t.is_float:
static inline ${t.c} sign_${t.s}(${t.c} x) { return (${t.c})(x > 0) - (${t.c})(x < 0); }
% elif not t.is_complex:
static inline ${t.c} sign_${t.s}(${t.c} x) { return (${t.c})((x > 0) - (x < 0)); }
% endif
</%def>

<%def name="copysign(t, wide)">
% if t.is_float:
static inline ${t.c} copysign_${t.s}(${t.c} x, ${t.c} y) {
  return as_${t.c}((as_${BITS[t.s][0]}(x) & ${BITS[t.s][2]}) | (as_${BITS[t.s][0]}(y) & ${BITS[t.s][1]}));
}
% endif
</%def>

<%def name="signbit(t, wide)">
% if t.is_float:
static inline uchar signbit_${t.s}(${t.c} x) { return (as_${BITS[t.s][0]}(x) & ${BITS[t.s][1]}) != 0; }
% elif not t.is_complex:
static inline uchar signbit_${t.s}(${t.c} x) { return x < 0; }
% endif
</%def>

## Tests by bits, right even where a driver assumes that there are no NaNs.
<%def name="isnan(t, wide)">
% if t.is_float:
static inline uchar isnan_${t.s}(${t.c} x) { return (as_${BITS[t.s][0]}(x) & ${BITS[t.s][2]}) > ${BITS[t.s][3]}; }
% elif t.is_complex:
static inline uchar isnan_${t.s}(${t.c} z) { return isnan_${t.real.s}(z.x) | isnan_${t.real.s}(z.y); }
% else:
static inline uchar isnan_${t.s}(${t.c} x) { return 0; }
% endif
</%def>

<%def name="isinf(t, wide)">
% if t.is_float:
static inline uchar isinf_${t.s}(${t.c} x) { return (as_${BITS[t.s][0]}(x) & ${BITS[t.s][2]}) == ${BITS[t.s][3]}; }
% elif t.is_complex:
static inline uchar isinf_${t.s}(${t.c} z) { return isinf_${t.real.s}(z.x) | isinf_${t.real.s}(z.y); }
% else:
static inline uchar isinf_${t.s}(${t.c} x) { return 0; }
% endif
</%def>

<%def name="isfinite(t, wide)">
% if t.is_float:
static inline uchar isfinite_${t.s}(${t.c} x) { return (as_${BITS[t.s][0]}(x) & ${BITS[t.s][2]}) < ${BITS[t.s][3]}; }
% elif t.is_complex:
static inline uchar isfinite_${t.s}(${t.c} z) { return isfinite_${t.real.s}(z.x) & isfinite_${t.real.s}(z.y); }
% else:
static inline uchar isfinite_${t.s}(${t.c} x) { return 1; }
% endif
</%def>

## Larger and smaller of two; NaN wins (maximum, minimum, max, min, clamp).
<%def name="max(t, wide)">
% if t.is_float:
static inline ${t.c} max_${t.s}(${t.c} a, ${t.c} b) { return a > b || a != a ? a : b; }
% elif not t.is_complex:
static inline ${t.c} max_${t.s}(${t.c} a, ${t.c} b) { return a > b ? a : b; }
% endif
</%def>

<%def name="min(t, wide)">
% if t.is_float:
static inline ${t.c} min_${t.s}(${t.c} a, ${t.c} b) { return a < b || a != a ? a : b; }
% elif not t.is_complex:
static inline ${t.c} min_${t.s}(${t.c} a, ${t.c} b) { return a < b ? a : b; }
% endif
</%def>

## Larger and smaller of two; a number wins over NaN.
<%def name="fmax(t, wide)">
% if t.is_float:
static inline ${t.c} fmax_${t.s}(${t.c} a, ${t.c} b) { return a > b || b != b ? a : b; }
% elif not t.is_complex:
static inline ${t.c} fmax_${t.s}(${t.c} a, ${t.c} b) { return a > b ? a : b; }
% endif
</%def>

<%def name="fmin(t, wide)">
% if t.is_float:
static inline ${t.c} fmin_${t.s}(${t.c} a, ${t.c} b) { return a < b || b != b ? a : b; }
% elif not t.is_complex:
static inline ${t.c} fmin_${t.s}(${t.c} a, ${t.c} b) { return a < b ? a : b; }
% endif
</%def>

## min(max(x, low), high): where low > high the result is high; NaN anywhere gives NaN.
<%def name="clamp(t, wide)">
% if not t.is_complex:
static inline ${t.c} clamp_${t.s}(${t.c} x, ${t.c} low, ${t.c} high) { return min_${t.s}(max_${t.s}(x, low), high); }
% endif
</%def>

<%def name="nan_to_num(t, wide)">
% if t.is_float:
static inline ${t.c} nan_to_num_${t.s}(${t.c} x, ${t.c} nan, ${t.c} posinf, ${t.c} neginf) {
  return isnan_${t.s}(x) ? nan : isinf_${t.s}(x) ? (x > 0 ? posinf : neginf) : x;
}
% elif not t.is_complex:
static inline ${t.c} nan_to_num_${t.s}(${t.c} x, ${t.c} nan, ${t.c} posinf, ${t.c} neginf) { return x; }
% endif
</%def>

## NaN gives 0, as in PyTorch.
<%def name="heaviside(t, wide)">
% if not t.is_complex:
static inline ${t.c} heaviside_${t.s}(${t.c} x, ${t.c} at_zero) { return x == 0 ? at_zero : (${t.c})(x > 0); }
% endif
</%def>

## |a - b| <= atol + rtol * |b|; equal infinities are close, NaNs are close to each other if equal_nan.
<%def name="isclose(t, wide)">
% if t.is_complex:
static inline uchar isclose_${t.s}(${t.c} a, ${t.c} b, ${t.real.c} rtol, ${t.real.c} atol, int equal_nan) {
  const ${t.real.c} difference = abs_${t.s}(a - b);
  return eq_${t.s}(a, b) || (equal_nan && isnan_${t.s}(a) && isnan_${t.s}(b))
    || (isfinite_${t.real.s}(difference) && isfinite_${t.s}(b) && difference <= atol + rtol * abs_${t.s}(b));
}
% elif t.is_float:
static inline uchar isclose_${t.s}(${t.c} a, ${t.c} b, ${t.c} rtol, ${t.c} atol, int equal_nan) {
  const ${t.c} difference = abs_${t.s}(a - b);
  return a == b || (equal_nan && a != a && b != b)
    || (isfinite_${t.s}(difference) && isfinite_${t.s}(b) && difference <= atol + rtol * abs_${t.s}(b));
}
% endif
</%def>

## Rounding; round takes halves to even. Integers are whole already.
<%def name="floor(t, wide)">
% if t.is_float:
${intrinsic("floor") if wide else builtin("floor")}
% elif not t.is_complex:
static inline ${t.c} floor_${t.s}(${t.c} x) { return x; }
% endif
</%def>

<%def name="ceil(t, wide)">
% if t.is_float:
${intrinsic("ceil") if wide else builtin("ceil")}
% elif not t.is_complex:
static inline ${t.c} ceil_${t.s}(${t.c} x) { return x; }
% endif
</%def>

<%def name="trunc(t, wide)">
% if t.is_float:
${intrinsic("trunc") if wide else builtin("trunc")}
% elif not t.is_complex:
static inline ${t.c} trunc_${t.s}(${t.c} x) { return x; }
% endif
</%def>

<%def name="round(t, wide)">
% if t.is_float:
${intrinsic("round", "rint") if wide else builtin("round", called="rint")}
% elif not t.is_complex:
static inline ${t.c} round_${t.s}(${t.c} x) { return x; }
% endif
</%def>

## x - trunc(x); of an infinity NaN, as PyTorch gives.
<%def name="frac(t, wide)">
% if t.is_float:
static inline ${t.c} frac_${t.s}(${t.c} x) { return x - trunc_${t.s}(x); }
% endif
</%def>

<%def name="nextafter(t, wide)">
% if t.is_float:
${builtin("nextafter", "x, y")}
% endif
</%def>

## Correctly rounded in wide on processors; at most 3 ulp by the OpenCL rules elsewhere.
<%def name="sqrt(t, wide)">
% if t.is_float:
${intrinsic("sqrt") if wide else builtin("sqrt")}
% endif
</%def>

## a * b + c, rounded once.
<%def name="fma(t, wide)">
% if t.is_float:
${intrinsic("fma", parameters="a, b, c", feature="__FMA__") if wide else builtin("fma", "a, b, c")}
% endif
</%def>

<%def name="rsqrt(t, wide)">
% if t.is_float:
static inline ${t.c} rsqrt_${t.s}(${t.c} x) { return ${t.one} / sqrt_${t.s}(x); }
% endif
</%def>
