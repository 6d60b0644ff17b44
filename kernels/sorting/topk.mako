<%doc>
The k largest (or smallest) elements of each part of each row, in order, equal ones in the order of their places: values and int64 places
in the row. A work-item keeps the best k of its part sorted by insertion: for small k. In wide a plain
loop first asks whether any of BLOCK elements is good enough. Part p of a row is [n * p / parts, n * (p+1) / parts).
Called by ops/sorting.py, which runs it again on the parts' winners where there are several.

dtype    of x, contiguous (rows, n)      best, out   (rows, parts, k): keys (scratch) and results      smallest   1: the smallest
</%doc>
<% U, BLOCK = "ulong" if dtype.itemsize == 8 else "uint", 16 if wide else 1 %>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void topk(__global const ${dtype.storage} *restrict x, const uint offset, __global ${dtype.storage} *restrict values,
          __global long *restrict indices, __global ${U} *restrict best, const uint rows, const uint n, const uint parts, const uint k,
          const int smallest)
{
  const ${U} invert = smallest ? ~(${U})0 : 0;
  for (uint job = get_global_id(0); job < rows * parts; job += get_global_size(0)) {
    const uint row = job / parts, part = job - row * parts;
    const uint lo = (uint)((ulong)n * part / parts), hi = (uint)((ulong)n * (part + 1) / parts);
    __global ${U} *restrict mine = best + job * k;
    __global long *restrict where_found = indices + job * k;
    uint held = 0;
    ${U} worst = 0;
    for (uint from = lo; from < hi; from += ${BLOCK}) {
      const uint count = hi - from < ${BLOCK} ? hi - from : ${BLOCK};
      __global const ${dtype.storage} *restrict block = x + (offset + row * n + from);
      ${U} keys[${BLOCK}];
      int better = held < k;
      for (uint j = 0; j < count; j++) {
        keys[j] = sort_key_${dtype.s}(${dtype.load("block", "j")}) ^ invert;
        better |= keys[j] > worst;
      }
      for (uint j = 0; better && j < count; j++) {
        const ${U} now = keys[j];
        if (held == k && now <= worst) continue;
        uint at = held < k ? held++ : k - 1;
        for (; at > 0 && mine[at - 1] < now; at--) { mine[at] = mine[at - 1]; where_found[at] = where_found[at - 1]; }
        mine[at] = now;
        where_found[at] = (long)(from + j);
        worst = mine[held - 1];
      }
    }
    for (uint j = 0; j < held; j++) values[job * k + j] = x[offset + row * n + (uint)where_found[j]];
  }
}
