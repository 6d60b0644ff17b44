<%doc>
out[i] = u_i < p ? 0 : x[i] * scale, with u_i number i of the stream (as uniform in fill.mako): the same call on a gradient is the backward.
Called by ops/random.py.
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void dropout(__global ${dtype.storage} *restrict out, __global const ${dtype.storage} *restrict x, const uint x_offset, const uint n, const ulong seed,
             const ulong offset, const float p, const float scale)
{
#pragma OPENCL FP_CONTRACT OFF
  const uint blocks = (n + 3) / 4;
% if wide:
  const uint per = (blocks + get_num_groups(0) - 1) / get_num_groups(0);
  const uint first = get_group_id(0) * per, last = first + per < blocks ? first + per : blocks;
  for (uint block = first; block < last; block++) {
% else:
  for (uint block = get_global_id(0); block < blocks; block += get_global_size(0)) {
% endif
    const uint4 w = philox_at(seed, 0, offset + block);
    const uint i = block * 4;
% for k, word in enumerate("xyzw"):
    if (i + ${k} < n) {
      const ${dtype.c} kept = ${dtype.load("x", f"x_offset + i + {k}")} * (${dtype.real.c})scale;
      ${dtype.store("out", f"i + {k}", f"uniform_f32(w.{word}, 0) < p ? {dtype.zero} : kept")};
    }
% endfor
  }
}
