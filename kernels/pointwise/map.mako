<%doc>
One launch for a chain of pointwise operators: out_k[i] = f_k(leaf_0[i], leaf_1[i], ...) for i < n.

body      statements of the chain for one element; they read l0, l1, ... (the leaves' values) and s0, s1, ... (scalars)
leaves    loads: (declaration, pointer, index) as text; hoisted: loads of one-element leaves, done once
rank      0: every leaf and output is contiguous or one element. R > 0: coordinates of i over sizes d0..d{R-1} (last runs
          fastest) address strided leaves through base offsets b<leaf>, advanced along the innermost dimension
interleave vectors that one turn of a CPU's loop works on, where the compiler is clang: the constants of exp, tanh, ..., which don't fit into 16
          registers, are then read once for all of them, and there is other work while one waits. Rows may be short, so they get 2, and vectors of
          512 bits, which have 32 registers, 4
widest    bytes of the largest number that the chain computes with, where computing takes longer than memory; else 0
halves    some result is rounded to float16
streamed  the outputs' types and sizes where they go past the caches (wide, rank 0): BLOCK elements of each are computed in the first cache and stored
          from there
read      the leaves that a chain reads one after the other: pointer, index, size
I         index type, uint or ulong
</%doc>
<%! BLOCK = 256 %>
<%namespace name="past" file="past.mako"/>
<%namespace name="whole" file="whole.mako"/>
## While ``per`` results are stored, the lines of memory are asked for that the next block reads in their place: 3 to 11 % less time, unless computing takes
## longer than memory. With PoCL: others were not tried, and Oclgrind can't run a program with this instruction.
<%def name="ask(per)">
#ifdef POCL_DEVICE_ADDRESS_BITS
    const ${I} i = from + ${BLOCK} + past;
% for name, index, size in read:
% for first in range(0, per, 64 // size):
    __builtin_prefetch((const void *)(size_t)(${name} + ${index} + ${first}));
% endfor
% endfor
#endif
</%def>
% if streamed:
${past.types()}
% endif
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void map(${", ".join(parameters)})
{
#pragma OPENCL FP_CONTRACT OFF
% for line in hoisted:
  ${line}
% endfor
% if wide:
  ${I} per = (n + (${I})get_num_groups(0) - 1) / (${I})get_num_groups(0);
  per = (per + 63) & ~(${I})63;
  const ${I} lo = (${I})get_group_id(0) * per;
  const ${I} hi = lo + per < n ? lo + per : n;
%   if streamed:
%     for k, (storage, size) in enumerate(streamed):
  ${storage} held${k}[${BLOCK}] __attribute__((aligned(64)));
%     endfor
  for (${I} from = lo; from < hi; from += ${BLOCK}) {
    const ${I} count = hi - from < ${BLOCK} ? hi - from : ${BLOCK};
    ${whole.loop(widest, interleave, min(interleave, 4), halves)}
    for (${I} j = 0; j < count; j++) {
      const ${I} i = from + j;
${body}
    }
%     for k, (storage, size) in enumerate(streamed):
    ${past.copy(storage, f"(o{k} + from)", "", f"held{k}", "count", "" if k or widest else capture(ask, 32 // size))}
%     endfor
  }
%   elif rank == 0:
  ${whole.loop(widest, interleave, min(interleave, 4), halves)}
  for (${I} i = lo; i < hi; i++) {
${body}
  }
%   else:
  for (${I} start = lo; start < hi;) {
    ${I} row = start / d${rank - 1};
    const ${I} column = start - row * d${rank - 1};
    const ${I} left = d${rank - 1} - column;
    const ${I} length = left < hi - start ? left : hi - start;
%     for name, offset, strides, in bases:
    ${I} b${name} = ${offset} + column * ${strides[-1]};
%     endfor
%     for axis in range(rank - 2, -1, -1):
    {
%       if axis:
      const ${I} x = row % d${axis}; row /= d${axis};
%       else:
      const ${I} x = row;
%       endif
%       for name, offset, strides in bases:
      b${name} += x * ${strides[axis]};
%       endfor
    }
%     endfor
    ${whole.loop(widest, 2, 2, halves)}
    for (${I} j = 0; j < length; j++) {
      const ${I} i = start + j;
${body}
    }
    start += length;
  }
%   endif
% else:
  for (${I} i = get_global_id(0); i < n; i += get_global_size(0)) {
%   if rank:
    const ${I} j = 0;
    ${I} row = i;
%     for name, offset, strides in bases:
    ${I} b${name} = ${offset};
%     endfor
%     for axis in range(rank - 1, -1, -1):
    {
%       if axis:
      const ${I} x = row % d${axis}; row /= d${axis};
%       else:
      const ${I} x = row;
%       endif
%       for name, offset, strides in bases:
      b${name} += x * ${strides[axis]};
%       endfor
    }
%     endfor
%   endif
${body}
  }
% endif
}
