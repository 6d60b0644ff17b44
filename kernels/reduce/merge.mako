<%doc>
The second stage of a split reduction: joins `splits` partial accumulators of each output (slots output * splits + s, written by
rows.mako or columns.mako) in order, and finishes. data: the reduced tensor (moments). Outputs are addressed through the kept dims (kn, ks, ko).

wide      a work-item takes a range of outputs
grid      `threads` work-items (a power of two) an output, then a tree in local memory
per       elements of a slice, `rows` at a time: the last slice also has what is left of `count`
</%doc>
<%! TUNABLES = dict(WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%namespace name="on" file="accumulator.mako"/>
<% first = "offset" if kind == "moments" else "0" %>
${dtype.definition("data") if kind == "moments" else ""}
${on.declare()}

<%def name="load(target, output, s)">
% if kind == "value":
      const acc_t ${target} = ACC_ONE(p0[${output} * splits + ${s}], 0);
% elif kind == "pair":
      const acc_t ${target} = ACC_ONE(p0[${output} * splits + ${s}], p1[${output} * splits + ${s}]);
% else:
      const uint begin_ = min(count / merged, ${s} * per), end_ = min(count / merged, begin_ + per);
      const uint size_ = (end_ - begin_) * merged + (${s} == splits - 1 ? count % merged : 0);
      const acc_t ${target} = (acc_t){p0[${output} * splits + ${s}], p1[${output} * splits + ${s}], size_};
% endif
</%def>

__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void merge(${f"{dtype.parameters('data')}, const uint offset, " if kind == "moments" else ""}__global const ${acc.c} *restrict p0, __global const ${"uint" if kind == "pair" else acc.c} *restrict p1, ${on.results()},
           const uint outputs, const uint splits, const uint count, const uint merged, const uint threads${on.dims("k", kept, True)}${on.numbers()})
{
  const uint per = (count / merged + splits - 1) / splits;
% if wide:
  const uint share = outputs / get_num_groups(0), extra = outputs % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
  for (uint output = start; output < stop; output++) {
    uint base = ${first}, place = 0;
    ${on.unravel("output", "k", kept, "base", "place")}
    ${on.shift("base")}
    acc_t r = acc_none();
    for (uint s = 0; s < splits; s++) {
      ${load("q", "output", "s")}
      r = acc_merge(r, q);
    }
    ${on.write("r", "place", "output", "count")}
  }
% else:
  __local acc_t lds[${WG}];
  const uint lid = get_local_id(0), lane = lid & (threads - 1), together = ${WG} / threads;
  for (uint first = get_group_id(0) * together; first < outputs; first += get_num_groups(0) * together) {
    const uint output = first + lid / threads;
    uint base = ${first}, place = 0;
    ${on.unravel("output", "k", kept, "base", "place")}
    ${on.shift("base", "output < outputs")}
    acc_t r = acc_none();
    for (uint s = lane; s < splits && output < outputs; s += threads) {
      ${load("q", "output", "s")}
      r = acc_merge(r, q);
    }
    ${on.tree("threads", "1", "lane")}
    r = lds[lid];
    if (lane == 0 && output < outputs) {
      ${on.write("r", "place", "output", "count")}
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
% endif
}
