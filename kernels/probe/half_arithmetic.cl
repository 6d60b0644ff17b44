// out = a * b + c with every step rounded to half. Called by cltorch/runtime/probes.py.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL FP_CONTRACT OFF
__kernel void probe(__global half *restrict out, __global const half *restrict a, __global const half *restrict b, __global const half *restrict c)
{
  const int i = (int)get_global_id(0);
  const half product = a[i] * b[i];
  out[i] = product + c[i];
}
