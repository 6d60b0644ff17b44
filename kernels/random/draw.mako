<%doc>
out[i] = random number i of a stream: philox block offset + i / V gives the elements of its V places, so that a seed means the same
numbers on every device and strategy.

kind     uniform: a + (b - a) * u     normal: a + b * z     exponential: e / a     bernoulli: u < a     integer: low + floor(range * u)
V        elements of a block: 4 of float32 and below, 2 of float64 and of integers (64 bits each)
t        type of the numbers (float32 for the narrower floats and for bernoulli into integers); dtype the type that is stored
Called by ops/random.py.
</%doc>
<%def name="values()">
    const uint4 w = philox_at(seed, 0, offset + block);
% if kind == "integer":
    const ulong r0 = ((ulong)w.x << 32) | w.y, r1 = ((ulong)w.z << 32) | w.w;
    const long v[2] = {low + (long)(range ? mul_hi(r0, range) : r0), low + (long)(range ? mul_hi(r1, range) : r1)};
% elif kind == "normal":
    ${t.c} v[${V}];
    v[0] = a + b * normal_pair_${t.s}(w, &v[1]);
    v[1] = a + b * v[1];
%   if V == 4:
    v[2] = a + b * normal_pair_${t.s}((uint4)(w.z, w.w, 0, 0), &v[3]);
    v[3] = a + b * v[3];
%   endif
% else:
<% words = [("w.x", "0"), ("w.y", "0"), ("w.z", "0"), ("w.w", "0")] if V == 4 else [("w.x", "w.y"), ("w.z", "w.w")] %>
    ${t.c if kind != "bernoulli" else "int"} v[${V}];
%   for k, (high, low) in enumerate(words):
%     if kind == "uniform":
    v[${k}] = a + (b - a) * uniform_${t.s}(${high} & mask, ${low});
%     elif kind == "exponential":
    v[${k}] = exponential_${t.s}(${high}, ${low}) / a;
%     else:
    v[${k}] = uniform_${t.s}(${high}, ${low}) < a;
%     endif
%   endfor
% endif
</%def>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void draw(__global ${dtype.storage} *restrict out, const uint n, const ulong seed, const ulong offset,
% if kind == "integer":
          const long low, const ulong range)
% else:
          const ${t.kernel_scalar} a, const ${t.kernel_scalar} b, const uint mask)
% endif
{
#pragma OPENCL FP_CONTRACT OFF
  const uint blocks = (n + ${V - 1}) / ${V};
% if wide:
  const uint per = (blocks + get_num_groups(0) - 1) / get_num_groups(0);
  const uint first = get_group_id(0) * per, last = first + per < blocks ? first + per : blocks;
  for (uint block = first; block < last; block++) {
% else:
  for (uint block = get_global_id(0); block < blocks; block += get_global_size(0)) {
% endif
${values()}
    const uint i = block * ${V};
% for k in range(V):
    if (i + ${k} < n) { ${dtype.store("out", f"i + {k}", dtype.cast(source, f"v[{k}]"))}; }
% endfor
  }
}
