// Sums of floats by a PTX instruction: each work-item adds to one of four. Called by cltorch/runtime/probes.py.
__kernel void probe(__global float *restrict out)
{
  __global float *sum = &out[get_global_id(0) % 4];
  float before;
  asm volatile("atom.global.add.f32 %0, [%1], %2;" : "=f"(before) : "l"(sum), "f"((float)get_global_id(0)) : "memory");
}
