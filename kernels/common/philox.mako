<%doc>
Random numbers from a counter: Philox 4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11), and uniform,
exponential and normal numbers made of its words. One seed gives the same bits on every device: integers, and float arithmetic of +, -, *
only (and / and sqrt in float64, where OpenCL wants them correctly rounded), in one order, never contracted.

A kernel calls, by bare name, philox(key, counter) or philox_at(seed, stream, index), which give four words in a uint4, and of those,
with its type's suffix (float types only):
  uniform_f32(a, b)                 in [0, 1) from the upper 24 bits of a (float64: 53 of a and b). For float16 and bfloat16 mask a to the
                                    upper 11 or 8 bits first (CType.precision), or rounding gives 1
  exponential_f32(a, b)             with mean 1, -ln of a number in (0, 1]: never infinite
  normal_pair_f32(words, &second)   two independent normal numbers; float32 uses words.xy, float64 all four
A kernel that goes on computing with them (mean + std * normal) keeps the bits equal with #pragma OPENCL FP_CONTRACT OFF in its body.
</%doc>
<%!
LOG_F32 = (0.33333313, -0.2500001, 0.20002073, -0.16667993, 0.14220315, -0.12406087, 0.11883792, -0.11671285, 0.067501776)
LOG_F64 = (0.6666666666666666, 0.4000000000000088, 0.2857142857080285, 0.22222222391887064, 0.18181795621632782, 0.15386240708969665,
           0.13268746195596595, 0.13086907887965027)
SIN_F64 = (-0.16666666666666666, 0.008333333333333331, -0.0001984126984126506, 2.7557319219335453e-06, -2.5052106231157904e-08,
           1.605853141458901e-10, -7.586685070091267e-13)
COS_F64 = (0.041666666666666664, -0.0013888888888888887, 2.4801587301584645e-05, -2.755731922140076e-07, 2.0876755790363397e-09,
           -1.1470460773969325e-11, 4.7458652037874553e-14)
%>

<%def name="philox(wide)">
static inline uint4 philox(uint2 key, uint4 counter) {
  uint a = counter.x, b = counter.y, c = counter.z, d = counter.w;
  const uint k = key.x, l = key.y;
## written out: a loop over blocks is vectorised only where it holds no other loop
% for turn in range(10):
  { const ulong p = (ulong)a * 0xd2511f53u, q = (ulong)c * 0xcd9e8d57u;
    a = (uint)(q >> 32) ^ b ^ (k + ${f"{turn * 0x9e3779b9 & 0xffffffff:#x}u"}); b = (uint)q;
    c = (uint)(p >> 32) ^ d ^ (l + ${f"{turn * 0xbb67ae85 & 0xffffffff:#x}u"}); d = (uint)p; }
% endfor
  return (uint4)(a, b, c, d);
}
</%def>

## Four words number `index` of a stream of a seed.
<%def name="philox_at(wide)">
static inline uint4 philox_at(ulong seed, ulong stream, ulong index) {
  return philox((uint2)((uint)seed, (uint)(seed >> 32)), (uint4)((uint)index, (uint)(index >> 32), (uint)stream, (uint)(stream >> 32)));
}
</%def>

<%def name="uniform(t, wide)">
% if t.s == "f32":
static inline float uniform_f32(uint a, uint b) { return (float)(int)(a >> 8) * 0x1p-24f; }
% elif t.s == "f64":
static inline double uniform_f64(uint a, uint b) { return (double)(long)((((ulong)a << 32) | b) >> 11) * 0x1p-53; }
% endif
</%def>

## -ln(u) for u in (0, 1]: 2^e * (1 + f), then a polynomial in f (float32) or the series of atanh in f / (2 + f).
<%def name="exponential(t, wide)">
% if t.s == "f32":
static inline float exponential_f32(uint a, uint b) {
#pragma OPENCL FP_CONTRACT OFF
  const float u = (float)a * 0x1p-32f + 0x1p-33f;
  const uint bits = as_uint(u) - 0x3f3504f3u;
  const float e = (float)((int)bits >> 23), f = as_float((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f, z = f * f;
  const float tail = z * f * ${horner("f", LOG_F32)} - 0.5f * z;
  return 0.0f - (((e * -2.1219444e-04f + tail) + f) + e * 0.693359375f);
}
% elif t.s == "f64":
static inline double exponential_f64(uint a, uint b) {
#pragma OPENCL FP_CONTRACT OFF
  const double u = (double)(((ulong)a << 32) | b) * 0x1p-64 + 0x1p-65;
  const ulong bits = as_ulong(u) - 0x3fe6a09e667f3bcdUL;
  const double e = (double)(int)((long)bits >> 52), f = as_double((bits & 0x000fffffffffffffUL) + 0x3fe6a09e667f3bcdUL) - 1.0;
  const double s = f / (2.0 + f), z = s * s;
  const double tail = s * z * ${horner("z", LOG_F64)};
  return 0.0 - ((2.0 * s + (tail + e * 1.9082149292705877e-10)) + e * 0.6931471803691238);
}
% endif
</%def>

## Square root by Newton's steps on its reciprocal in float32, where OpenCL allows the built-in 3 ulp.
<%def name="random_sqrt(t, wide)">
% if t.s == "f32":
static inline float random_sqrt_f32(float x) {
#pragma OPENCL FP_CONTRACT OFF
  const float h = 0.5f * x;
  float y = as_float(0x5f3759dfu - (as_uint(x) >> 1));
  y = y * (1.5f - h * y * y);
  y = y * (1.5f - h * y * y);
  y = y * (1.5f - h * y * y);
  const float root = x * y;
  return root + 0.5f * y * (x - root * root);
}
% elif t.s == "f64":
static inline double random_sqrt_f64(double x) { return sqrt(x); }
% endif
</%def>

## sin and cos of a whole turn times a / 2^32 (float64: with b below a), by quadrant.
<%def name="random_turn(t, wide)">
% if t.s == "f32":
static inline float random_turn_f32(uint a, uint b, float *cosine) {
#pragma OPENCL FP_CONTRACT OFF
  const uint quadrant = (a + (1u << 29)) >> 30;
  const float r = (float)(int)(a - (quadrant << 30)) * 1.4629181e-09f, z = r * r;
  const float s = r + r * z * ${horner("z", [-0.16666667, 0.00833338, -0.00019853498, 2.8372472e-06])};
  const float c = 1.0f + z * (-0.5f + z * ${horner("z", [0.041666668, -0.0013888982, 2.4822968e-05, -2.8974165e-07])});
  const float x = quadrant & 1u ? s : c, y = quadrant & 1u ? c : s;
  *cosine = (quadrant + 1u) & 2u ? -x : x;
  return quadrant & 2u ? -y : y;
}
% elif t.s == "f64":
static inline double random_turn_f64(uint a, uint b, double *cosine) {
#pragma OPENCL FP_CONTRACT OFF
  const ulong turn = ((ulong)a << 32) | b, quadrant = (turn + (1UL << 61)) >> 62;
  const double r = (double)(long)(turn - (quadrant << 62)) * 3.406121580086554589e-19, z = r * r;
  const double s = r + r * z * ${horner("z", SIN_F64)};
  const double c = 1.0 + z * (-0.5 + z * ${horner("z", COS_F64)});
  const double x = quadrant & 1UL ? s : c, y = quadrant & 1UL ? c : s;
  *cosine = (quadrant + 1UL) & 2UL ? -x : x;
  return quadrant & 2UL ? -y : y;
}
% endif
</%def>

## Box and Muller's pair: sqrt(-2 ln u) times cos and sin of a random turn; up to 6.8 (float64: 9.5) from the mean.
<%def name="normal_pair(t, wide)">
% if t.s == "f32":
static inline float normal_pair_f32(uint4 words, float *second) {
#pragma OPENCL FP_CONTRACT OFF
  float cosine;
  const float radius = random_sqrt_f32(2.0f * exponential_f32(words.x, 0)), sine = random_turn_f32(words.y, 0, &cosine);
  *second = radius * sine;
  return radius * cosine;
}
% elif t.s == "f64":
static inline double normal_pair_f64(uint4 words, double *second) {
#pragma OPENCL FP_CONTRACT OFF
  double cosine;
  const double radius = random_sqrt_f64(2.0 * exponential_f64(words.x, words.y)), sine = random_turn_f64(words.z, words.w, &cosine);
  *second = radius * sine;
  return radius * cosine;
}
% endif
</%def>
