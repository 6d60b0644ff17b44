<%doc>
Many tensors in one launch. A launch has SLOTS slots; slot k holds one memory object per array (p_k, g_k, ...). The elements of all
tensors lie behind one another on one line of `total` elements; a work-group owns a stretch of the line, which may cover tensors in part.

layout    `count` rows of (place of the tensor's first element on the line, its offset in each array), then a row that begins with `total`
arrays    ((name, written), ...)
</%doc>

<%def name="parameters(arrays, t, slots)">
% for k in range(slots):
% for name, written in arrays:
    __global ${"" if written else "const "}${t.storage} *${name}_${k},
% endfor
% endfor
    __global const uint *layout, const uint count, const uint total</%def>

## the body for each stretch of a tensor: from <= i < to, with name_ pointing at the tensor's first element of every array
<%def name="stretches(arrays, t, slots, per_group)">
<% row = 1 + len(arrays) %>
  uint share = (total + get_num_groups(0) - 1) / get_num_groups(0);
  share = (share + ${per_group - 1}) & ~${per_group - 1}u;
  const uint lo = min((uint)get_group_id(0) * share, total), hi = min(lo + share, total);
  for (uint k = 0; k < count; k++) {
    const uint begin = layout[k * ${row}], end = layout[(k + 1) * ${row}];
    if (end <= lo) continue;
    if (begin >= hi) break;
    const uint from = max(lo, begin) - begin, to = min(hi, end) - begin;
% for name, written in arrays:
    __global ${"" if written else "const "}${t.storage} *${name}_;
% endfor
    switch (k) {
% for k in range(slots):
      ${"default" if k == slots - 1 else f"case {k}"}: ${" ".join(f"{name}_ = {name}_{k};" for name, _ in arrays)} break;
% endfor
    }
% for j, (name, written) in enumerate(arrays):
    ${name}_ += layout[k * ${row} + ${j + 1}];
% endfor
    ${caller.body()}
  }
</%def>
