<%doc>
out[r, first + ...] = the inputs side by side: input k holds `outer` contiguous rows of w<k> elements each.
Called by ops/movement.py for cat, stack and their kin: several inputs in one launch, elements moved as raw bits.

raw      C type of an element's bits      inputs   number of inputs (unused ones get w = 0)
streamed whether the elements go past the caches
width    elements in a whole row of out   first    where in the row the first input starts     row   sum of all w
</%doc>
<%namespace name="past" file="/pointwise/past.mako"/>
% if streamed:
${past.types()}
% endif
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void cat(__global ${raw} *restrict out, const uint outer, const uint width, const uint first, const uint row
% for k in range(inputs):
  , __global const ${raw} *in${k}, const uint f${k}, const uint w${k}
% endfor
)
{
  const uint total = outer * row;
% if wide:
  const uint per = (total + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  uint i = (uint)get_group_id(0) * per;
  const uint hi = i + per < total ? i + per : total;
  if (i >= hi) return;
  uint r = i / row, c = i - r * row;
  while (i < hi) {
    uint start = 0;
%   for k in range(inputs):
    if (i < hi && c - start < w${k}) {
      const uint left = start + w${k} - c, n = left < hi - i ? left : hi - i;
      __global const ${raw} *restrict from = in${k} + f${k} + r * w${k} + (c - start);
      __global ${raw} *restrict to = out + (r * width + first + c);
%     if streamed:
      ${past.copy(raw, "to", "__global", "from", "n")}
%     else:
      for (uint j = 0; j < n; j++) to[j] = from[j];
%     endif
      i += n;
      c += n;
    }
    start += w${k};
%   endfor
    c = 0;
    r++;
  }
% else:
  for (uint i = get_global_id(0); i < total; i += get_global_size(0)) {
    const uint r = i / row;
    const uint c = i - r * row;
    uint start = 0;
    ${raw} value = in0[0];
%   for k in range(inputs):
    if (c >= start && c - start < w${k}) value = in${k}[f${k} + r * w${k} + (c - start)];
    start += w${k};
%   endfor
    out[r * width + first + c] = value;
  }
% endif
}
