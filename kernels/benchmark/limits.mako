<%doc>
What a device can do at most: tools/benchmarks/limits.py times these kernels, and bench.py compares operators with them.

multiply_adds   out[i] = sums that are multiplied and added to ``turns`` times: nothing but registers, CHAINS of them that don't wait for each other
read_all        out[i] = the sum of work-item i's share of ``count`` vectors, in four streams
write_all       the share of each work-item filled with ``value``, past a processor's caches where the compiler can
nothing         a launch

dtype    of the numbers, float32 or float64      lanes    of a vector
</%doc>
<%namespace name="past" file="/pointwise/past.mako"/>
<%
CHAINS = 12  # with two operands they fit into 16 registers; 8 hide four cycles of two units
V = f"{dtype.c}{lanes}" if lanes > 1 else dtype.c
kernel = f"__kernel {'__attribute__((reqd_work_group_size(1, 1, 1)))' if wide else ''}"
%>
${past.types()}
${kernel}
void multiply_adds(__global ${V} *restrict out, const int turns)
{
  const ${V} factor = (${V})(${dtype.c})0.5f, one = (${V})(${dtype.c})1;
% for i in range(CHAINS):
  ${V} s${i} = (${V})(${dtype.c})(${i} + (int)get_global_id(0));
% endfor
  for (int turn = 0; turn < turns; turn++) {
% for i in range(CHAINS):
    s${i} = s${i} * factor + one;
% endfor
  }
  out[get_global_id(0)] = ${" + ".join(f"s{i}" for i in range(CHAINS))};
}

## A work-item's own places: next to each other on processors, next to its neighbours' on GPUs.
<%def name="share(count)">
% if wide:
  const int per = (${count} + (int)get_global_size(0) - 1) / (int)get_global_size(0), first = (int)get_global_id(0) * per;
  const int last = min(first + per, ${count});
  for (int i = first; i < last; i++)
% else:
  for (int i = (int)get_global_id(0); i < ${count}; i += (int)get_global_size(0))
% endif
</%def>
${kernel}
void read_all(__global const ${V} *restrict x, __global ${V} *restrict out, const int count)
{
  const int quarter = count / 4;
  ${V} s0 = (${V})(${dtype.c})0, s1 = s0, s2 = s0, s3 = s0;
  ${share("quarter")} {
    s0 += x[i];
    s1 += x[i + quarter];
    s2 += x[i + 2 * quarter];
    s3 += x[i + 3 * quarter];
  }
  out[get_global_id(0)] = s0 + s1 + s2 + s3;
}

${kernel}
void write_all(__global ${V} *restrict x, const ${dtype.c} value, const int count)
{
#ifdef PAST_CACHES
  ${share("count")} __builtin_nontemporal_store((${V})value, x + i);
#else
  ${share("count")} x[i] = (${V})value;
#endif
}

${kernel}
void nothing(__global ${V} *restrict out)
{
}
