<%doc>
Conversions between element types: float16 and bfloat16 (ushorts in memory) to and from float in integer arithmetic, so that no
device needs cl_khr_fp16, and the conversions C leaves undefined. Called through CType.load, store, round and cast.
HALF_INSTRUCTIONS (codegen/fusion.py): clang's own rounding to float16, an instruction of the processor, in loops that ask for vectors. Its way back isn't
used: clang would then add and multiply as float16, number by number.
Suffix rule: from_half_f32(ushort) -> float, to_half_f32(float) -> ushort, round_half_f32(float) -> float, from_<source>_<target>(x).
</%doc>

## Exact; NaN stays NaN. The product maps the half's exponent 31 to infinity and NaN; subnormals are made normal by a subtraction, which no
## flush-to-zero device spoils.
<%def name="from_half(t, wide)">
% if t.s == "f32":
static inline float from_half_f32(ushort h) {
  const int sign = (int)(h & 0x8000) << 16, bits = (int)(h & 0x7fff) << 13;
  const float normal = as_float(bits + (224 << 23)) * 0x1p-112f, small = as_float(bits + (113 << 23)) - 0x1p-14f;
  return as_float(as_int(bits < (1 << 23) ? small : normal) | sign);
}
% endif
</%def>

## Round to nearest even; overflow gives infinity, every NaN the quiet one. Adding 2^13 times x's power of two (2^-14 at least) leaves the
## rounded significand in the low bits of the sum.
<%def name="to_half(t, wide)">
% if t.s == "f32":
#ifdef HALF_INSTRUCTIONS
static inline ushort to_half_f32(float x) { ushort h; __builtin_store_halff(x, (half *)&h); return h; }
#else
static inline ushort to_half_f32(float x) {
  const int bits = as_int(x) & 0x7fffffff, own = bits & 0x7f800000, power = own > (113 << 23) ? own : 113 << 23;
  const uint magic = (uint)power + (13u << 23), rounded = as_uint(as_float(bits) + as_float(magic)) - magic;
  const int finite = (power >> 13) - (113 << 10) + (int)(rounded & 0xffffu), beyond = bits > 0x7f800000 ? 0x7e00 : 0x7c00;
  return (ushort)((bits >= (143 << 23) ? beyond : finite) | ((as_int(x) >> 16) & 0x8000));
}
#endif
% endif
</%def>

## What storing and loading a half gives, without the packing: the sum of to_half in float, infinity from halfway beyond 65504 on.
<%def name="round_half(t, wide)">
% if t.s == "f32":
#ifdef HALF_INSTRUCTIONS
static inline float round_half_f32(float x) { return from_half_f32(to_half_f32(x)); }
#else
static inline float round_half_f32(float x) {
  const int bits = as_int(x) & 0x7fffffff, own = bits & 0x7f800000, power = own > (113 << 23) ? own : 113 << 23;
  const float size = as_float(bits), magic = as_float((uint)power + (13u << 23)), rounded = (size + magic) - magic;
  return as_float(as_int(size >= 65520.0f ? INFINITY : rounded) | (as_int(x) & (int)0x80000000u));
}
#endif
% endif
</%def>

<%def name="from_bfloat(t, wide)">
% if t.s == "f32":
static inline float from_bfloat_f32(ushort b) { return as_float((uint)b << 16); }
% endif
</%def>

## Round to nearest even; every NaN becomes the positive quiet one, as PyTorch stores it.
<%def name="to_bfloat(t, wide)">
% if t.s == "f32":
static inline ushort to_bfloat_f32(float x) {
  const uint bits = as_uint(x);
  const uint rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (ushort)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
% endif
</%def>

<%def name="round_bfloat(t, wide)">
% if t.s == "f32":
static inline float round_bfloat_f32(float x) { return from_bfloat_f32(to_bfloat_f32(x)); }
% endif
</%def>

## float -> integer. C leaves out of range and NaN undefined; these give what x86 gives (and so PyTorch on a CPU): the lowest integer
## of the 32- or 64-bit conversion instruction, of which narrower types keep the low bits.
<%def name="from_f32(t, wide)">
% if t.s == "i64":
static inline long from_f32_i64(float x) { return x >= -0x1p63f && x < 0x1p63f ? (long)x : LONG_MIN; }
% elif t.s == "i32":
static inline int from_f32_i32(float x) { return x >= -0x1p31f && x < 0x1p31f ? (int)x : INT_MIN; }
% elif t.is_integral:
static inline ${t.c} from_f32_${t.s}(float x) { return (${t.c})(x >= -0x1p31f && x < 0x1p31f ? (int)x : 0); }
% endif
</%def>

<%def name="from_f64(t, wide)">
% if t.s == "i64":
static inline long from_f64_i64(double x) { return x >= -0x1p63 && x < 0x1p63 ? (long)x : LONG_MIN; }
% elif t.s == "i32":
static inline int from_f64_i32(double x) { return x > -2147483649.0 && x < 0x1p31 ? (int)x : INT_MIN; }
% elif t.is_integral:
static inline ${t.c} from_f64_${t.s}(double x) { return (${t.c})(x > -2147483649.0 && x < 0x1p31 ? (int)x : 0); }
% endif
</%def>

## Between the complex types, and to bool (either part differs from 0).
<%def name="from_c64(t, wide)">
% if t.s == "c128":
static inline double2 from_c64_c128(float2 z) { return (double2)((double)z.x, (double)z.y); }
% elif t.s == "b8":
static inline uchar from_c64_b8(float2 z) { return z.x != 0.0f || z.y != 0.0f; }
% endif
</%def>

<%def name="from_c128(t, wide)">
% if t.s == "c64":
static inline float2 from_c128_c64(double2 z) { return (float2)((float)z.x, (float)z.y); }
% elif t.s == "b8":
static inline uchar from_c128_b8(double2 z) { return z.x != 0.0 || z.y != 0.0; }
% endif
</%def>
