// Sums of floats by cl_ext_float_atomics: each work-item adds to one of four. Called by cltorch/runtime/probes.py.
#ifndef __opencl_c_ext_fp32_global_atomic_add
#error the compiler doesn't define __opencl_c_ext_fp32_global_atomic_add
#endif
__kernel void probe(__global float *restrict out)
{
  volatile __global atomic_float *sum = (volatile __global atomic_float *)&out[get_global_id(0) % 4];
  atomic_fetch_add_explicit(sum, (float)get_global_id(0), memory_order_relaxed, memory_scope_device);
}
