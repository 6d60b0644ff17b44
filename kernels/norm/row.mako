<%doc>
Sums and maxima over a row of n elements from `base` on, for the kernels of this folder.

over      wide: each total of `found`, {name: (start, join of a and b)}, is declared and computed in LANES lanes; `body` takes the element
          at `at` (64 bits, so that the compiler sees neighbours) into lane l, <name>_[l]; lanes are joined every 64 * LANES
          elements, so that errors hardly grow with n
tree      grid: joins the private numbers `name` of `threads` neighbours in lds; all of them get the result
</%doc>
<%! sizes = {"float": 4, "double": 8} %>
<%namespace name="whole" file="/pointwise/whole.mako"/>
## Before a loop: four vectors a turn, or ``longest`` of the processor's longest where it computes more than it reads.
<%def name="vectors(A, laborious, longest)">${whole.loop(sizes[A] if laborious else 0, 4, longest)}</%def>
<%def name="over(A, LANES, found, body, laborious=False)">
% for name, (start, join) in found.items():
    ${A} ${name} = ${start};
% endfor
    for (uint from = 0; from < n; from += ${64 * LANES}) {
      const uint length = min(n - from, ${64 * LANES}u), first = base + from;
      const int size = (int)length;  // signed: the compiler keeps the lanes in registers only where nothing may wrap
      int j = 0;
% for name, (start, join) in found.items():
      ${A} ${name}_[${LANES}];
      for (int l = 0; l < ${LANES}; l++) ${name}_[l] = ${start};
% endfor
      for (; j + ${LANES} <= size; j += ${LANES})
        ${vectors(A, laborious, max(1, LANES * sizes[A] // 64))}
        for (int l = 0; l < ${LANES}; l++) { const size_t at = (size_t)first + (size_t)(j + l); ${body} }
      for (; j + 8 <= size; j += 8)
        for (int l = 0; l < 8; l++) { const size_t at = (size_t)first + (size_t)(j + l); ${body} }
      for (int l = 0; j + l < size; l++) { const size_t at = (size_t)first + (size_t)(j + l); ${body} }
% for name, (start, join) in found.items():
% for w in whole.module.halves(LANES):
      for (int l = 0; l < ${w}; l++) { const ${A} a = ${name}_[l], b = ${name}_[l + ${w}]; ${name}_[l] = ${join}; }
% endfor
      { const ${A} a = ${name}, b = ${name}_[0]; ${name} = ${join}; }
% endfor
    }
</%def>

<%def name="tree(A, name, join)">
      lds[lid] = ${name};
      barrier(CLK_LOCAL_MEM_FENCE);
      for (uint gap = threads / 2; gap > 0; gap /= 2) {
        if (lane < gap) { const ${A} a = lds[lid], b = lds[lid + gap]; lds[lid] = ${join}; }
        barrier(CLK_LOCAL_MEM_FENCE);
      }
      ${name} = lds[lid - lane];
      barrier(CLK_LOCAL_MEM_FENCE);
</%def>
