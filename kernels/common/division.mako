<%doc>
Division that rounds, and its remainders, for floats and integers by PyTorch's rules: floor_divide and remainder round down (the
remainder has the divisor's sign, as in Python), trunc_divide and fmod round towards 0 (as in C). Integers never trap: x / 0 is 0 with
remainder x, and the lowest integer / -1 wraps.
</%doc>
<%!
UNSIGNED = {"i8": "uchar", "i16": "ushort", "i32": "uint", "i64": "ulong", "u8": "uchar"}
%>

## True division; for integers see trunc_divide and floor_divide.
<%def name="div(t, wide)">
% if t.is_float:
static inline ${t.c} div_${t.s}(${t.c} a, ${t.c} b) { return a / b; }
% elif t.is_complex:
## By the larger part of b (Smith), so that no square overflows.
static inline ${t.c} div_${t.s}(${t.c} a, ${t.c} b) {
  const int swap = abs_${t.real.s}(b.x) < abs_${t.real.s}(b.y);
  const ${t.real.c} large = swap ? b.y : b.x, small = swap ? b.x : b.y;
  const ${t.real.c} ratio = large == 0 && small == 0 ? ${t.real.zero} : small / large, scale = 1 / (large + small * ratio);
  const ${t.real.c} x = swap ? a.x * ratio + a.y : a.x + a.y * ratio, y = swap ? a.y * ratio - a.x : a.y - a.x * ratio;
  return (${t.c})(x * scale, y * scale);
}
% endif
</%def>

<%def name="trunc_divide(t, wide)">
% if t.is_float:
static inline ${t.c} trunc_divide_${t.s}(${t.c} a, ${t.c} b) { return trunc_${t.s}(a / b); }
% elif t.is_signed and t.is_integral:
static inline ${t.c} trunc_divide_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} safe = b == 0 || b == -1 ? ${t.one} : b;
  return b == 0 ? 0 : b == -1 ? (${t.c})(0 - (${UNSIGNED[t.s]})a) : (${t.c})(a / safe);
}
% elif t.is_integral:
static inline ${t.c} trunc_divide_${t.s}(${t.c} a, ${t.c} b) { return b == 0 ? 0 : a / (b == 0 ? 1 : b); }
% endif
</%def>

## Exact: the driver's fmod is by the OpenCL rules.
<%def name="fmod(t, wide)">
% if t.is_float:
${builtin("fmod", "a, b")}
% elif t.is_integral:
static inline ${t.c} fmod_${t.s}(${t.c} a, ${t.c} b) { return sub_${t.s}(a, mul_${t.s}(trunc_divide_${t.s}(a, b), b)); }
% endif
</%def>

<%def name="remainder(t, wide)">
% if t.is_float:
static inline ${t.c} remainder_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} r = fmod_${t.s}(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
% elif t.is_integral:
static inline ${t.c} remainder_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} r = fmod_${t.s}(a, b);
  return b != 0 && r != 0 && (r < 0) != (b < 0) ? (${t.c})(r + b) : r;
}
% endif
</%def>

## Floats: from the exact remainder, so that a quotient just below an integer isn't rounded up to it.
<%def name="floor_divide(t, wide)">
% if t.is_float:
static inline ${t.c} floor_divide_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} quotient = a / b, r = fmod_${t.s}(a, b);
  const ${t.c} exact = (a - r) / b - (r != 0 && (r < 0) != (b < 0) ? ${t.one} : ${t.zero});
  const ${t.c} down = floor_${t.s}(exact), whole = exact - down > ${t.lit(0.5)} ? down + 1 : down;
  return b == 0 ? quotient : exact == 0 ? copysign_${t.s}(${t.zero}, quotient) : whole;
}
% elif t.is_integral:
static inline ${t.c} floor_divide_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} q = trunc_divide_${t.s}(a, b);
  const int inexact = mul_${t.s}(q, b) != a;
  return (${t.c})(q - (b != 0 && inexact && (a < 0) != (b < 0)));
}
% endif
</%def>
