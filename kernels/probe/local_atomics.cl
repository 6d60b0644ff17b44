// A histogram of 64 bins, counted in local memory or straight in global memory: the results are equal, the times are compared.
// Called by cltorch/runtime/probes.py.
#define BINS 64
static uint next(uint x) { x ^= x << 13; x ^= x >> 17; return x ^ (x << 5); }

__kernel void in_local(__global int *restrict out, const int rounds)
{
  __local int bins[BINS];
  for (int k = (int)get_local_id(0); k < BINS; k += (int)get_local_size(0)) bins[k] = 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  uint x = (uint)get_global_id(0) + 1u;
  for (int k = 0; k < rounds; k++) { x = next(x); atomic_add(&bins[x % BINS], 1); }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int k = (int)get_local_id(0); k < BINS; k += (int)get_local_size(0)) atomic_add(&out[k], bins[k]);
}

__kernel void in_global(__global int *restrict out, const int rounds)
{
  uint x = (uint)get_global_id(0) + 1u;
  for (int k = 0; k < rounds; k++) { x = next(x); atomic_add(&out[x % BINS], 1); }
}
