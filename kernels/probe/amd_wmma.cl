// out (16 x 16, float) = a (16 x 16) @ b (16 x 16, stored by columns), halves, by the WMMA instruction of RDNA 3: one wave of 32, whose halves
// hold the same rows and columns. Called by cltorch/runtime/probes.py.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
__kernel __attribute__((reqd_work_group_size(32, 1, 1)))
void probe(__global float *restrict out, __global const half *restrict a, __global const half *restrict b)
{
  const int lane = (int)get_local_id(0), line = lane & 15;
  const half16 row = vload16(line, a), column = vload16(line, b);
  const float8 sum = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(row, column, (float8)(0.0f));
  const float *result = (const float *)&sum;
  for (int k = 0; k < 8; k++) out[16 * (2 * k + (lane >> 4)) + line] = result[k];
}
