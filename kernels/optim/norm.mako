<%doc>
One number per work-group for many tensors at once (slots.mako): the sum or the maximum of a function of the elements.

map       C expression of x in the accumulator type; combine: "sum" or "max" (NaN wins); p: a call-time number for the expression
partials  [first + group] receives the group's number
Called by ops/multi_tensor.py.
</%doc>
<%! TUNABLES = dict(WG=(1, 128, (1, 64, 128, 256)), LANES=(16, 1, (1, 4, 8, 16))) %>
<%namespace name="on" file="slots.mako"/>
<%
  arrays = (("x", False),)
  def join(a, b):
      return f"{a} = {a} + {b}" if combine == "sum" else f"{a} = ({b} > {a} || {b} != {b}) ? {b} : {a}"
%>
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void norm(
${on.parameters(arrays, t, slots)}, __global ${acc.c} *partials, const uint first, const ${acc.c} p)
{
#pragma OPENCL FP_CONTRACT OFF
  ${acc.c} lane[${LANES}];
  for (uint l = 0; l < ${LANES}; l++) lane[l] = 0;
<%on:stretches arrays="${arrays}" t="${t}" slots="${slots}" per_group="${16 if wide else WG}">
% if wide:
    uint i = from;
    for (; i + ${LANES} <= to; i += ${LANES})
      for (uint l = 0; l < ${LANES}; l++) {
        const ${acc.c} x = ${acc.cast(t, t.load("x_", "i + l"))}, v = ${map};
        ${join("lane[l]", "v")};
      }
    for (uint l = 0; i + l < to; l++) {
      const ${acc.c} x = ${acc.cast(t, t.load("x_", "i + l"))}, v = ${map};
      ${join("lane[l]", "v")};
    }
% else:
    for (uint i = from + get_local_id(0); i < to; i += get_local_size(0)) {
      const ${acc.c} x = ${acc.cast(t, t.load("x_", "i"))}, v = ${map};
      ${join("lane[0]", "v")};
    }
% endif
</%on:stretches>
  for (uint w = ${LANES // 2}; w > 0; w /= 2)
    for (uint l = 0; l < w; l++) { ${join("lane[l]", "lane[l + w]")}; }
% if wide:
  partials[first + get_group_id(0)] = lane[0];
% else:
  __local ${acc.c} shared[${WG}];
  const uint lid = get_local_id(0);
  shared[lid] = lane[0];
  for (uint w = ${WG // 2}; w > 0; w /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < w) { ${join("shared[lid]", "shared[lid + w]")}; }
  }
  if (lid == 0) partials[first + get_group_id(0)] = shared[0];
% endif
}
