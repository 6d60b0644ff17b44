// Each work-item reports its subgroup, its place in it, the subgroup's sum and inclusive scan of the items' numbers, and what item 0 said.
// Called by cltorch/runtime/probes.py.
#ifdef cl_khr_subgroups
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#endif
__kernel void probe(__global int *restrict out)
{
  const int i = (int)get_local_id(0), value = 3 * i + 1;
  out[5 * i] = (int)get_sub_group_id();
  out[5 * i + 1] = (int)get_sub_group_local_id();
  out[5 * i + 2] = sub_group_reduce_add(value);
  out[5 * i + 3] = sub_group_scan_inclusive_add(value);
  out[5 * i + 4] = sub_group_broadcast(value, 0);
}
