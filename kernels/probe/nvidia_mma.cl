// out (16 x 8, float) = a (16 x 8) @ b (8 x 8, stored by columns), halves, on NVIDIA's tensor cores (compute capability 7.5 and later): one warp.
// Called by cltorch/runtime/probes.py.
__kernel __attribute__((reqd_work_group_size(32, 1, 1)))
void probe(__global float *restrict out, __global const uint *restrict a, __global const uint *restrict b)
{
  const int lane = (int)get_local_id(0), row = lane >> 2, pair = lane & 3;
  const uint a0 = a[4 * row + pair], a1 = a[4 * (row + 8) + pair], b0 = b[4 * row + pair];
  float c0, c1, c2, c3;
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %7, %7, %7};"
               : "=f"(c0), "=f"(c1), "=f"(c2), "=f"(c3) : "r"(a0), "r"(a1), "r"(b0), "f"(0.0f));
  out[8 * row + 2 * pair] = c0;
  out[8 * row + 2 * pair + 1] = c1;
  out[8 * (row + 8) + 2 * pair] = c2;
  out[8 * (row + 8) + 2 * pair + 1] = c3;
}
