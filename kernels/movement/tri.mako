<%doc>
tril and triu: out[b, i, j] = x[b, i, j] where j - i <= k (upper: j - i >= k), else 0. x and out are contiguous (lines = batch * rows).
Called by ops/movement.py; elements are moved as raw bits.

raw   C type of an element's bits
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void tri(__global ${raw} *restrict out, __global const ${raw} *restrict x, const uint offset, const uint lines, const uint rows,
         const uint cols, const int k, const int upper)
{
% if wide:
  const uint per = (lines + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < lines ? lo + per : lines;
  for (uint line = lo; line < hi; line++) {
    const int edge = (int)(line % rows) + k + (upper ? 0 : 1);  // the first column above (lower: outside) the diagonal
    const uint cut = edge < 0 ? 0 : edge > (int)cols ? cols : (uint)edge;
    __global const ${raw} *restrict from = x + offset + line * cols;
    __global ${raw} *restrict to = out + line * cols;
    if (upper) {
      for (uint j = 0; j < cut; j++) to[j] = (${raw})0;
      for (uint j = cut; j < cols; j++) to[j] = from[j];
    } else {
      for (uint j = 0; j < cut; j++) to[j] = from[j];
      for (uint j = cut; j < cols; j++) to[j] = (${raw})0;
    }
  }
% else:
  const uint n = lines * cols;
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
    const uint line = i / cols;
    const int j = (int)(i - line * cols), edge = (int)(line % rows) + k;
    const int keep = upper ? j >= edge : j <= edge;
    out[i] = keep ? x[offset + i] : (${raw})0;
  }
% endif
}
