<%doc>
Numbers as unsigned integers of the same order, for sorting. NaN comes last, -0 and 0 are equal.
sort_key_<s>(x): uint, for int64 and float64 ulong.
</%doc>

<%def name="sort_key(t, wide)">
% if t.s == "f32":
static inline uint sort_key_f32(float x) {
  const uint bits = as_uint(x);
  const uint ordered = (bits >> 31) ? ~bits : bits | 0x80000000u;
  return x != x ? 0xffffffffu : x == 0.0f ? 0x80000000u : ordered;
}
% elif t.s == "f64":
static inline ulong sort_key_f64(double x) {
  const ulong bits = as_ulong(x);
  const ulong ordered = (bits >> 63) ? ~bits : bits | 0x8000000000000000UL;
  return x != x ? 0xffffffffffffffffUL : x == 0.0 ? 0x8000000000000000UL : ordered;
}
% elif t.s == "i64":
static inline ulong sort_key_i64(long x) { return (ulong)x ^ 0x8000000000000000UL; }
% elif t.s == "i32":
static inline uint sort_key_i32(int x) { return (uint)x ^ 0x80000000u; }
% elif t.s == "i16":
static inline uint sort_key_i16(short x) { return (uint)(x + 0x8000); }
% elif t.s == "i8":
static inline uint sort_key_i8(char x) { return (uint)(x + 0x80); }
% elif t.s in ("u8", "b8"):
static inline uint sort_key_${t.s}(uchar x) { return (uint)x; }
% endif
</%def>
