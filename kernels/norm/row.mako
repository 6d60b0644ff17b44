<%doc>
Sums and maxima over a row of n elements from `base` on, for the kernels of this folder.

over      wide: each total of `found`, {name: (start, join of a and b)}, is declared and computed in LANES lanes; `body` puts what the element
          at `at` (64 bits, so that the compiler sees neighbours) adds to it into <name>_[l]; lanes are joined every 64 * LANES
          elements, so that errors hardly grow with n. They are vectors in registers: an array that a loop adds to stays in memory
tree      grid: joins the private numbers `name` of `threads` neighbours in lds; all of them get the result
GREATEST  the join of a maximum: NaN where there is one, of numbers and of vectors
</%doc>
<%! GREATEST = "((b > a) | (b != b)) ? b : a" %>
<%namespace name="whole" file="/pointwise/whole.mako"/>
## Before a loop: four vectors a turn, or ``longest`` of the processor's longest where it computes more than it reads.
<%def name="vectors(A, laborious, longest)">${whole.loop(whole.module.sizes[A] if laborious else 0, 4, longest)}</%def>
## to = the join of two of type T.
<%def name="joined(T, to, join, first, second)">{ const ${T} a = ${first}, b = ${second}; ${to} = ${join}; }</%def>
<%def name="over(A, LANES, found, body, laborious=False)">
<% V, pieces = f"{A}8", range(LANES // 8) %>
% for name, (start, join) in found.items():
    ${A} ${name} = ${start};
% endfor
    for (uint from = 0; from < n; from += ${64 * LANES}) {
      const uint length = min(n - from, ${64 * LANES}u), first = base + from;
      const int size = (int)length;  // signed: the compiler keeps the lanes in registers only where nothing may wrap
      int j = 0;
% for name, (start, join) in found.items():
      ${V} ${", ".join(f"{name}_{k} = ({V})({start})" for k in pieces)};
      ${V} ${name}_few = (${V})(${start});
% endfor
      for (; j + ${LANES} <= size; j += ${LANES}) {
        ${A} ${", ".join(f"{name}_[{LANES}] __attribute__((aligned(64)))" for name in found)};
        ${vectors(A, laborious, max(1, LANES * whole.module.sizes[A] // 64))}
        for (int l = 0; l < ${LANES}; l++) { const size_t at = (size_t)first + (size_t)(j + l); ${body} }
% for name, (start, join) in found.items():
% for k in pieces:
        ${joined(V, f"{name}_{k}", join, f"{name}_{k}", f"*({V} *)({name}_ + {8 * k})")}
% endfor
% endfor
      }
      for (; j + 8 <= size; j += 8) {
        ${A} ${", ".join(f"{name}_[8] __attribute__((aligned(64)))" for name in found)};
        for (int l = 0; l < 8; l++) { const size_t at = (size_t)first + (size_t)(j + l); ${body} }
% for name, (start, join) in found.items():
        ${joined(V, f"{name}_few", join, f"{name}_few", f"*({V} *){name}_")}
% endfor
      }
      for (; j < size; j++) {
        ${A} ${", ".join(f"{name}_[1]" for name in found)};
        const int l = 0;
        const size_t at = (size_t)first + (size_t)j;
        ${body}
% for name, (start, join) in found.items():
        ${joined(A, name, join, name, f"{name}_[0]")}
% endfor
      }
% for name, (start, join) in found.items():
% for k in pieces[1:]:
      ${joined(V, f"{name}_0", join, f"{name}_0", f"{name}_{k}")}
% endfor
      ${joined(V, f"{name}_few", join, f"{name}_few", f"{name}_0")}
      ${A}4 ${name}_four;
      ${joined(f"{A}4", f"{name}_four", join, f"{name}_few.lo", f"{name}_few.hi")}
      ${A}2 ${name}_two;
      ${joined(f"{A}2", f"{name}_two", join, f"{name}_four.lo", f"{name}_four.hi")}
      ${joined(A, name, join, name, f"{name}_two.x")}
      ${joined(A, name, join, name, f"{name}_two.y")}
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
