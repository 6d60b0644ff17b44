<%doc>
Functions of integers: shifts by any amount, popcount, gcd, lcm. pow of integers is in power.mako, division in division.mako.
</%doc>
<%!
BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "u8": 8}
UNSIGNED = {"i8": "uchar", "i16": "ushort", "i32": "uint", "i64": "ulong", "u8": "uchar"}
%>

## Shifting by a negative amount or by the width and more empties the number: 0, or all sign bits to the right.
<%def name="shift_left(t, wide)">
% if t.is_integral:
static inline ${t.c} shift_left_${t.s}(${t.c} x, ${t.c} by) {
  const int inside = by >= 0 && by < ${BITS[t.s]};
  return inside ? (${t.c})((${UNSIGNED[t.s]})x << (inside ? by : 0)) : 0;
}
% endif
</%def>

<%def name="shift_right(t, wide)">
% if t.is_integral:
static inline ${t.c} shift_right_${t.s}(${t.c} x, ${t.c} by) {
  const int inside = by >= 0 && by < ${BITS[t.s]};
% if t.is_signed:
  return (${t.c})(x >> (inside ? by : ${BITS[t.s] - 1}));
% else:
  return inside ? (${t.c})(x >> (inside ? by : 0)) : 0;
% endif
}
% endif
</%def>

## Number of bits that are 1: sums of neighbours, which vectorise where the built-in is a call.
<%def name="popcount(t, wide)">
% if t.is_integral:
static inline ${t.c} popcount_${t.s}(${t.c} x) {
% if t.s == "i64":
  ulong n = (ulong)x;
  n = n - ((n >> 1) & 0x5555555555555555UL);
  n = (n & 0x3333333333333333UL) + ((n >> 2) & 0x3333333333333333UL);
  return (long)((((n + (n >> 4)) & 0x0f0f0f0f0f0f0f0fUL) * 0x0101010101010101UL) >> 56);
% else:
  uint n = (${UNSIGNED[t.s]})x;
  n = n - ((n >> 1) & 0x55555555u);
  n = (n & 0x33333333u) + ((n >> 2) & 0x33333333u);
  return (${t.c})((((n + (n >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24);
% endif
}
% endif
</%def>

## Greatest common divisor, not negative (the lowest integer wraps); gcd(0, 0) is 0.
<%def name="gcd(t, wide)">
% if t.is_integral:
static inline ${t.c} gcd_${t.s}(${t.c} a, ${t.c} b) {
  ${UNSIGNED[t.s]} u = (${UNSIGNED[t.s]})abs_${t.s}(a), v = (${UNSIGNED[t.s]})abs_${t.s}(b);
  while (v != 0) {
    const ${UNSIGNED[t.s]} r = u % v;
    u = v;
    v = r;
  }
  return (${t.c})u;
}
% endif
</%def>

<%def name="lcm(t, wide)">
% if t.is_integral:
static inline ${t.c} lcm_${t.s}(${t.c} a, ${t.c} b) {
  const ${t.c} g = gcd_${t.s}(a, b);
  return g == 0 ? 0 : mul_${t.s}((${t.c})((${UNSIGNED[t.s]})abs_${t.s}(a) / (${UNSIGNED[t.s]})g), abs_${t.s}(b));
}
% endif
</%def>
