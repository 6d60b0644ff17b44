<%doc>
dw[i] = partial[0, i] + partial[1, i] + ... for the split sums of weights.mako and grid.mako, rounded once to dw's type.
One order on every device.
</%doc>
<%namespace name="tile" file="/matmul/tile.mako"/>
<% E = tile.module.lane(dtype) %>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void fold(__global const ${E} *restrict partial, __global ${dtype.storage} *restrict dw, const int count, const int splits)
{
% if wide:
  const int each = (count + (int)get_global_size(0) - 1) / (int)get_global_size(0);
  const int from = get_global_id(0) * each, to = min(from + each, count);
  for (int i = from; i < to; i++) {
% else:
  for (int i = get_global_id(0); i < count; i += get_global_size(0)) {
% endif
    ${E} s = partial[i];
    for (int p = 1; p < splits; p++) s += partial[(long)p * count + i];
    ${dtype.store("dw", "i", "s")};
  }
}
