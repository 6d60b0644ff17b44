<%doc>
One elementwise update of many tensors at once (slots.mako): the step of an optimizer, the scaling of gradients.

arrays     ((name, written), ...): the tensors' arrays, all of dtype t
scalars    names of the call-time numbers; singles: names of numbers that are read from one-element tensors on the device
update     ((name, expression, declared), ...): assignments in C, in order. A declared name is a new variable
Called by ops/multi_tensor.py.
</%doc>
<%! TUNABLES = dict(WG=(1, 128, (1, 64, 128, 256))) %>
<%namespace name="on" file="slots.mako"/>
<%
  numbers = [f"const {t.c} {name}" for name in (*scalars, *singles)]
  passed = [*(f"{name}_" for name, _ in arrays), "from", "to", *scalars, *(f"{name}_[0]" for name in singles)]
%>
static inline void stretch(${", ".join([*(f"__global {'' if w else 'const '}{t.storage} *restrict {n}_" for n, w in arrays),
                                        "const uint from", "const uint to", *numbers])})
{
#pragma OPENCL FP_CONTRACT OFF
% if wide:
  for (uint i = from; i < to; i++) {
% else:
  for (uint i = from + get_local_id(0); i < to; i += get_local_size(0)) {
% endif
% for name, _ in arrays:
    ${t.c} ${name} = ${t.load(f"{name}_", "i")};
% endfor
% for name, expression, declared in update:
    ${f"const {t.c} " if declared else ""}${name} = ${expression};
% endfor
% for name, written in arrays:
% if written:
    ${t.store(f"{name}_", "i", name)};
% endif
% endfor
  }
}

__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void update(
${on.parameters(arrays, t, slots)}${"".join(f", __global const {t.c} *{name}_" for name in singles)}${"".join(f", const {t.c} {name}" for name in scalars)})
{
<%on:stretches arrays="${arrays}" t="${t}" slots="${slots}" per_group="${16 if wide else WG}">stretch(${", ".join(passed)});</%on:stretches>
}
