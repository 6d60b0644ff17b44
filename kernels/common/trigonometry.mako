<%doc>
sin cos tan sinpi cospi sinc asin acos atan atan2. In float32 and strategy wide all are plain C without branches. Arguments of any
size are reduced exactly: sin(1e30f) is as right as sin(1). Errors in ulp over all floats, measured by tests/test_math_accuracy.py.
</%doc>
<%!
TWO_OVER_PI = (0, 0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab)
ATAN = (-0.33333328, 0.19999722, -0.1428047, 0.11062278, -0.0882595, 0.06774846, -0.045151565, 0.02292798, -0.007498915, 0.0011496948)
%>

## x = quadrant * pi/2 + result, |result| <= pi/4, for finite x of any size. |x| = mantissa * 2^e times a window of 96 bits of 2/pi
## gives the turn as a fixed-point number of which only the two bits above the point and the 62 below are kept.
<%def name="trig_reduce(t, wide)">
% if t.s == "f32":
static inline float trig_reduce_f32(float x, uint *quadrant) {
  const uint bits = as_uint(x) & 0x7fffffffu, mantissa = (bits & 0x007fffffu) | 0x00800000u;
  const uint offset = (bits >> 23) - 120u, word = offset >> 5, shift = offset & 31u, back = 31u - shift;
## four words from number `word` on, by the bits of that number: a chain of comparisons would become a table that no loop vectorises
% for n in range(7):
  const uint a${n} = word & 4u ? ${f"{TWO_OVER_PI[n + 4]:#010x}u" if n < 4 else "0u"} : ${f"{TWO_OVER_PI[n]:#010x}u"};
% endfor
% for n in range(5):
  const uint b${n} = word & 2u ? a${n + 2} : a${n};
% endfor
% for n in range(4):
  const uint w${n} = word & 1u ? b${n + 1} : b${n};
% endfor
  const uint high = (w0 << shift) | ((w1 >> 1) >> back), middle = (w1 << shift) | ((w2 >> 1) >> back);
  const uint low = (w2 << shift) | ((w3 >> 1) >> back);
  const ulong turn = ((ulong)(mantissa * high) << 32) + (ulong)mantissa * middle + (((ulong)mantissa * low) >> 32);
  const ulong part = turn << 2;
  const float large = (float)(int)((part >> 32) & 0xffffff00UL) * 0x1p32f, rest = (float)(int)((uint)(part >> 8) >> 1) * 0x1p9f;
  const float first = head_f32(large);
  const float r = first * 0x1.921p-64f + (first * 0x1.f6a888p-77f + ((large - first) + rest) * 0x1.921fb6p-64f);
  const uint q = (uint)((turn + (1UL << 61)) >> 62);
  const int near = bits < 0x3f490fdbu;
  *quadrant = near ? 0u : x < 0.0f ? 0u - q : q;
  return near ? x : bits >= 0x7f800000u ? NAN : x < 0.0f ? -r : r;
}
% endif
</%def>

## sin and cos on |r| <= pi/4.
<%def name="sin_near(t, wide)">
% if t.s == "f32":
static inline float sin_near_f32(float r) {
  const float z = r * r;
  return r + r * z * ${poly("z", [-0.16666667, 0.00833338, -0.00019853498, 2.8372472e-06])};
}
% endif
</%def>

<%def name="cos_near(t, wide)">
% if t.s == "f32":
static inline float cos_near_f32(float r) {
  const float z = r * r;
  return 1.0f + z * (-0.5f + z * ${poly("z", [0.041666668, -0.0013888982, 2.4822968e-05, -2.8974165e-07])});
}
% endif
</%def>

## 2 ulp.
<%def name="sin(t, wide)">
% if native:
${builtin("sin")}
% elif t.s == "f32":
static inline float sin_f32(float x) {
  uint q;
  const float r = trig_reduce_f32(x, &q), y = q & 1u ? cos_near_f32(r) : sin_near_f32(r);
  return q & 2u ? -y : y;
}
% endif
</%def>

## 2 ulp.
<%def name="cos(t, wide)">
% if native:
${builtin("cos")}
% elif t.s == "f32":
static inline float cos_f32(float x) {
  uint q;
  const float r = trig_reduce_f32(x, &q), y = q & 1u ? sin_near_f32(r) : cos_near_f32(r);
  return (q + 1u) & 2u ? -y : y;
}
% endif
</%def>

## 3 ulp.
<%def name="tan(t, wide)">
% if native:
${builtin("tan")}
% elif t.s == "f32":
static inline float tan_f32(float x) {
  uint q;
  const float r = trig_reduce_f32(x, &q), s = sin_near_f32(r), c = cos_near_f32(r);
  return q & 1u ? -c / s : s / c;
}
% endif
</%def>

## sin(pi x) and cos(pi x): the reduction to |r| <= 1/4 is exact. 2 ulp. From 2^23 on every float is whole, from 2^24 on even.
<%def name="pi_reduce(t, wide)">
% if t.s == "f32":
static inline float pi_reduce_f32(float x, uint *quadrant) {
  const float whole = x * 2.0f;
  const int k = whole < 0x1p24f && whole > -0x1p24f ? (int)round_f32(whole) : 0;
  *quadrant = (uint)k;
  const float r = k ? x - 0.5f * (float)k : whole < 1.0f && whole > -1.0f ? x : x - x;
  return r * 3.1415927f;
}
% endif
</%def>

<%def name="sinpi(t, wide)">
% if native:
${builtin("sinpi")}
% elif t.s == "f32":
static inline float sinpi_f32(float x) {
  uint q;
  const float r = pi_reduce_f32(x, &q), y = q & 1u ? cos_near_f32(r) : sin_near_f32(r);
  return q & 2u ? -y : y;
}
% endif
</%def>

<%def name="cospi(t, wide)">
% if native:
${builtin("cospi")}
% elif t.s == "f32":
static inline float cospi_f32(float x) {
  uint q;
  const float r = pi_reduce_f32(x, &q), y = q & 1u ? sin_near_f32(r) : cos_near_f32(r);
  const int odd = x >= 0x1p23f && x < 0x1p24f && (as_uint(x) & 1u);
  return ((q + 1u) & 2u) != 0u ? -y : odd ? -y : y;
}
% endif
</%def>

## sin(pi x) / (pi x), 1 at 0.
<%def name="sinc(t, wide)">
% if t.is_float:
static inline ${t.c} sinc_${t.s}(${t.c} x) {
  return x == 0 ? ${t.one} : sinpi_${t.s}(x) / (${t.lit(3.141592653589793)} * x);
}
% endif
</%def>

## atan on 0 <= z <= 1.
<%def name="atan_near(t, wide)">
% if t.s == "f32":
static inline float atan_near_f32(float z) {
  const float s = z * z;
  return z + z * s * ${poly("s", ATAN)};
}
% endif
</%def>

## 2 ulp.
<%def name="atan(t, wide)">
% if native:
${builtin("atan")}
% elif t.s == "f32":
static inline float atan_f32(float x) {
  const float a = abs_f32(x), p = atan_near_f32(a > 1.0f ? 1.0f / a : a);
  return copysign_f32(a > 1.0f ? 1.5707964f - (p + 4.371139e-08f) : p, x);
}
% endif
</%def>

## Angle of (x, y), 3 ulp; signed zeros and infinities as in C.
<%def name="atan2(t, wide)">
% if native:
${builtin("atan2", "y, x")}
% elif t.s == "f32":
static inline float atan2_f32(float y, float x) {
  const float a = abs_f32(x), b = abs_f32(y), large = a > b ? a : b, small = a > b ? b : a;
  const float ratio = large == 0.0f ? 0.0f : small == INFINITY ? 1.0f : small / large;
  const float p = atan_near_f32(ratio), first = b > a ? 1.5707964f - (p + 4.371139e-08f) : p;
  const float angle = as_uint(x) >> 31 ? 3.1415927f - (first + 8.742278e-08f) : first;
  return x != x || y != y ? x + y : copysign_f32(angle, y);
}
% endif
</%def>

## asin(s) for z = s * s, 0 <= s <= 1/2: what is to be added to s.
<%def name="asin_tail(t, wide)">
% if t.s == "f32":
static inline float asin_tail_f32(float s, float z) {
  return s * z * ${poly("z", [0.1666666, 0.07500528, 0.044511553, 0.031858236, 0.014231077, 0.03782741])};
}
% endif
</%def>

## 2 ulp; NaN outside [-1, 1].
<%def name="asin(t, wide)">
% if native:
${builtin("asin")}
% elif t.s == "f32":
static inline float asin_f32(float x) {
  const float a = abs_f32(x);
  const int far = a > 0.5f;
  const float z = far ? 0.5f * (1.0f - a) : a * a, s = far ? sqrt_f32(z) : a, tail = asin_tail_f32(s, z);
  const float rest = 0.7853982f - 2.0f * s;
  return copysign_f32(far ? 0.7853982f + (rest - (2.0f * tail + 4.371139e-08f)) : s + tail, x);
}
% endif
</%def>

## 2 ulp; NaN outside [-1, 1].
<%def name="acos(t, wide)">
% if native:
${builtin("acos")}
% elif t.s == "f32":
static inline float acos_f32(float x) {
  const float a = abs_f32(x);
  const int far = a > 0.5f;
  const float z = far ? 0.5f * (1.0f - a) : a * a, s = far ? sqrt_f32(z) : x, tail = asin_tail_f32(s, z);
  const float twice = 2.0f * (s + tail);
  return far ? (x < 0.0f ? 3.1415927f - (twice + 8.742278e-08f) : twice) : 1.5707964f - (s + (tail + 4.371139e-08f));
}
% endif
</%def>
