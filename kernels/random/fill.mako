<%doc>
n random numbers from blocks offset, offset + 1, ... of a seed's stream: element i is made of words of block i / per, whatever the
partition, so one seed gives the same numbers on every device. Called by ops/random.py.

dtype   of out
kind    uniform (low a, high b), normal (mean a, standard deviation b), exponential (rate a), integer (low + word * range / 2^32), long (low +
        64 bits modulo range), bernoulli (1 where a word is below range), keep (x * a where a word is at least range, else 0: dropout)
</%doc>
<%
per = 2 if kind == "long" or (kind in ("uniform", "normal", "exponential") and dtype.compute.s == "f64") else 4
real = kind in ("uniform", "normal", "exponential")
T = dtype.compute
%>
<%def name="element(k)">
<% first, second = ("xyzw"[k], "xyzw"[k]) if per == 4 else ("xz"[k], "yw"[k]) %>
% if kind == "uniform":
<% word = f"w.{first} & {0xffffffff << (32 - dtype.precision) & 0xffffffff}u" if dtype.is_half else f"w.{first}" %>
      v${k} = a + uniform_${T.s}(${word}, w.${second}) * (b - a);
% elif kind == "exponential":
      v${k} = exponential_${T.s}(w.${first}, w.${second}) / a;
% elif kind == "integer":
      v${k} = (long)(((ulong)w.${first} * range) >> 32) + low;
% elif kind == "long":
      v${k} = (long)(range ? (((ulong)w.${first} << 32) | w.${second}) % range : (((ulong)w.${first} << 32) | w.${second})) + low;
% elif kind == "bernoulli":
      v${k} = (ulong)w.${first} < range;
% endif
</%def>
<%def name="block()">
      const uint4 w = philox_at(seed, 0, offset + block);
      ${V} ${", ".join(f"v{k}" for k in range(per))};
% if kind == "normal" and per == 4:
      v0 = normal_pair_f32(w, &v1);
      v2 = normal_pair_f32((uint4)(w.z, w.w, 0, 0), &v3);
% elif kind == "normal":
      v0 = normal_pair_f64(w, &v1);
% endif
% for k in range(per):
${element(k)}
%   if kind == "normal":
      v${k} = a + v${k} * b;
%   endif
% endfor
</%def>
<%
V = T.c if real else "long" if kind in ("integer", "long") else "int"
source = None if real else "int64" if kind in ("integer", "long") else "int32"
def value(k):
    return dtype.store("out", f"{per} * (size_t)block + {k}", f"v{k}" if real else dtype.cast(ctype(source), f"v{k}"))
%>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void fill(__global ${dtype.storage} *restrict out, const uint n, const ulong seed, const ulong offset
% if real:
  , const ${T.kernel_scalar} a, const ${T.kernel_scalar} b
% else:
  , const ulong range, const long low
% endif
)
{
#pragma OPENCL FP_CONTRACT OFF
  const uint whole = n / ${per};
% if wide:
  const uint share = (whole + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * share, hi = lo + share < whole ? lo + share : whole;
  for (uint block = lo; block < hi; block++) {
% else:
  for (uint block = get_global_id(0); block < whole; block += get_global_size(0)) {
% endif
${block()}
% for k in range(per):
      ${value(k)};
% endfor
  }
  if (get_global_id(0) == 0 && whole * ${per} < n) {
    const uint block = whole, left = n - whole * ${per};
${block()}
% for k in range(per - 1):
      if (left > ${k}) ${value(k)};
% endfor
  }
}
