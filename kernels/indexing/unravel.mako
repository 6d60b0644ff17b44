<%doc>
out[i, k] = coordinate along dimension k of flat position i (row-major order): nonzero's table of coordinates.
Called by ops/indexing.py. d<k> is the size of dimension k; columns = 1 writes out[k, i] instead (one tensor per dimension).
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void unravel(__global long *restrict out, __global const long *restrict flat, const uint n, const uint columns
% for k in range(rank):
  , const uint d${k}
% endfor
)
{
  const uint per_entry = columns ? 1 : ${rank}, per_axis = columns ? n : 1;
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  for (uint i = lo; i < hi; i++) {
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
% endif
    uint rest = (uint)flat[i];
% for k in reversed(range(1, rank)):
    { const uint q = rest / d${k}; out[i * per_entry + ${k} * per_axis] = (long)(rest - q * d${k}); rest = q; }
% endfor
    out[i * per_entry] = (long)rest;
  }
}
