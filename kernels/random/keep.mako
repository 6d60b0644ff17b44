<%doc>
Dropout: out[i] = x[i] * scale where word i of the seed's stream is at least `threshold`, else 0. The same call on a gradient is its
backward: nothing is stored but seed and offset. Element i is word i % 4 of block offset + i / 4. Called by ops/random.py.

dtype   of x (contiguous) and out
</%doc>
<% T = dtype.compute %>
<%def name="element(k)">
      {
        const ${T.c} v = ${dtype.load("x", f"x_offset + 4 * block + {k}")};
        ${dtype.store("out", f"4 * block + {k}", f"(ulong)w.{'xyzw'[k]} >= threshold ? v * scale : {'v * 0' if not dtype.is_complex else T.zero}")};
      }
</%def>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void keep(__global ${dtype.storage} *restrict out, __global const ${dtype.storage} *restrict x, const uint x_offset, const uint n,
          const ulong seed, const ulong offset, const ulong threshold, const ${T.real.kernel_scalar} scale)
{
#pragma OPENCL FP_CONTRACT OFF
  const uint whole = n / 4;
% if wide:
  const uint share = (whole + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * share, hi = lo + share < whole ? lo + share : whole;
  for (uint block = lo; block < hi; block++) {
% else:
  for (uint block = get_global_id(0); block < whole; block += get_global_size(0)) {
% endif
      const uint4 w = philox_at(seed, 0, offset + block);
% for k in range(4):
${element(k)}
% endfor
  }
  if (get_global_id(0) == 0 && whole * 4 < n) {
      const uint block = whole, left = n - whole * 4;
      const uint4 w = philox_at(seed, 0, offset + block);
% for k in range(3):
      if (left > ${k}) ${element(k)}
% endfor
  }
}
