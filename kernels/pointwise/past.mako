<%doc>
Stores past a processor's caches, shared by templates: only defs, no kernel. For results that are larger than these: they would push out what is still
needed, and a line that is written through a cache is read first. Where the compiler isn't clang they are ordinary stores. What is stored has a variable of
type piece: with a loose_piece there, which may lie anywhere, clang stores eight bytes at a time.
</%doc>
<%def name="types()">
#ifdef __has_builtin
#if __has_builtin(__builtin_nontemporal_store)
#define PAST_CACHES 1
typedef float piece __attribute__((ext_vector_type(8)));
typedef float loose_piece __attribute__((ext_vector_type(8), aligned(1)));
#endif
#endif
</%def>
## n elements of type ``storage`` from one place to another. Whole pieces of the target are stored past the caches; ``also``: what is done at each of them.
<%def name="copy(storage, to, space, source, n, also='')">
{
  uint past = 0;
#ifdef PAST_CACHES
  const uint each = sizeof(piece) / sizeof(${storage});
  for (; past < ${n} && (size_t)(${to} + past) % sizeof(piece); past++) ${to}[past] = ${source}[past];
  for (; past + each <= ${n}; past += each) {
    ${also}
    const piece kept = *(${space} const loose_piece *)(${source} + past);
    __builtin_nontemporal_store(kept, (__global piece *)(${to} + past));
  }
#endif
  for (; past < ${n}; past++) ${to}[past] = ${source}[past];
}
</%def>
