// out (8 x WIDTH, float) = a (8 x 16) @ b (16 x WIDTH, stored by columns), halves, by cl_intel_subgroup_matrix_multiply_accumulate: one subgroup of
// WIDTH = 16 (Xe-HPC, Xe2) or 8 (Xe-HPG). Called by cltorch/runtime/probes.py.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
__kernel __attribute__((intel_reqd_sub_group_size(WIDTH))) __attribute__((reqd_work_group_size(WIDTH, 1, 1)))
void probe(__global float *restrict out, __global const ushort *restrict a, __global const ushort *restrict b)
{
  const int lane = (int)get_local_id(0);
  int8 columns;
  float8 sum = (float8)(0.0f);
  __private int *column = (__private int *)&columns;
  for (int k = 0; k < 8; k++) column[k] = (int)b[16 * lane + 2 * k] | (int)b[16 * lane + 2 * k + 1] << 16;
#if WIDTH == 16
  short8 rows;
  __private short *row = (__private short *)&rows;
  for (int m = 0; m < 8; m++) row[m] = (short)a[16 * m + lane];
#else
  int8 rows;
  __private int *row = (__private int *)&rows;
  for (int m = 0; m < 8; m++) row[m] = (int)a[16 * m + 2 * lane] | (int)a[16 * m + 2 * lane + 1] << 16;
#endif
  sum = intel_sub_group_f16_f16_matrix_mad_k16(rows, columns, sum);
  const float *result = (const float *)&sum;
  for (int m = 0; m < 8; m++) out[WIDTH * m + lane] = result[m];
}
