<%doc>
arange and linspace of an integer type: out[i] = start + i * step + (i * rest) / parts, rounded towards zero, where rest and parts are not
negative: exact, whatever the numbers. Called by ops/creation.py.

dtype    of out, an integer type
</%doc>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void integers(__global ${dtype.storage} *restrict out, const uint n, const long start, const long step, const ulong rest, const ulong parts)
{
% if wide:
  const uint per = (n + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  for (uint i = lo; i < hi; i++) {
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
% endif
    long value = (long)((ulong)start + i * (ulong)step);
    if (rest != 0) {
      const ulong whole = i * rest / parts;
      value = (long)((ulong)value + whole);
      value += value < 0 && whole * parts != i * rest;
    }
    ${dtype.store("out", "i", dtype.cast(ctype("int64"), "value"))};
  }
}
