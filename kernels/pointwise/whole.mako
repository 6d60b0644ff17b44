<%doc>
The length of a loop's vectors, shared by templates: only defs, no kernel. clang's loops use vectors of 256 bits where a processor has longer ones, unless
they ask. WHOLE_VECTORS: bytes of the processor's, defined where the compiler has to be told (runtime/quirks.py).
</%doc>
<%!
sizes = {"float": 4, "double": 8}  # bytes of a number by its C type
%>
## Before a loop: so many vectors a turn, or ``whole`` of the processor's longest. size: bytes of the largest number that the loop computes with, where
## that takes longer than memory; else 0, and the loop doesn't ask. halves: it rounds to them, for which clang's estimate sees no vectors: two of 256 bits.
<%def name="loop(size, count, whole, halves=False)">
% if size:
#ifdef WHOLE_VECTORS
#pragma clang loop vectorize_width(WHOLE_VECTORS / ${size}) interleave_count(${whole})
#else
% endif
% if halves:
#ifdef HALF_INSTRUCTIONS
#pragma clang loop vectorize_width(16) interleave_count(${max(1, count // 2)})
#else
% endif
#pragma clang loop interleave_count(${count})
% if halves:
#endif
% endif
% if size:
#endif
% endif
</%def>
