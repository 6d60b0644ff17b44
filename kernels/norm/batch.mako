<%doc>
Sums over everything but the channel of a contiguous (outer, channels, inner) tensor, for the gradient of batch normalisation:
p0[s * pitch + c] = sum of g, p1[shift + s * pitch + c] = sum of g * (x - mean[c]) * rstd[c], over the outer rows of slice s.

gradient  g's type: a chain may compute it (codegen/fusion.py: Computed)
flat      inner is 1: lanes run over channels
wide      a work-item sums channels' runs in lanes, or (flat) TILE channels row by row; joined every 64 steps
grid      a work-group a channel and slice, tree in local memory; flat: a work-item a channel and slice
Called by ops/batch_norm.py.
</%doc>
<%! TUNABLES = dict(LANES=(16, 16, (8, 16, 32)), TILE=(512, 512, (128, 256, 512)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%namespace name="row" file="row.mako"/>
<%
  A = acc.c
  def x_at(at): return acc.cast(dtype, dtype.load("x", f"x_offset + {at}"))
  def g_at(at): return acc.cast(gradient, gradient.load("g", f"g_offset + {at}"))
%>
${gradient.definition("g")}
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void batch(__global const ${dtype.storage} *restrict x, const uint x_offset, ${gradient.parameters("g")}, const uint g_offset,
           __global const ${A} *restrict means, __global const ${A} *restrict rstds, __global ${A} *p0, __global ${A} *p1, const uint pitch,
           const uint shift, const uint outer,
           const uint channels, const uint inner, const uint slices)
{
  const uint per = (outer + slices - 1) / slices;
% if not flat:
%   if wide:
  const uint tasks = channels * slices, share = tasks / get_num_groups(0), extra = tasks % get_num_groups(0), group = get_group_id(0);
  const uint start = group * share + min(group, extra), stop = start + share + (group < extra);
  for (uint task = start; task < stop; task++) {
    const uint c = task / slices, s = task % slices, last = min(outer, s * per + per);
    const ${A} mean = means[c], rstd = rstds[c];
    ${A} direct = 0, along = 0, direct_[${LANES}], along_[${LANES}];
    for (uint l = 0; l < ${LANES}; l++) direct_[l] = along_[l] = 0;
    uint taken = 0;
    for (uint o = s * per; o < last; o++)
      for (uint from = 0; from < inner; from += ${64 * LANES}) {
        const uint first = (o * channels + c) * inner + from, length = min(inner - from, ${64 * LANES}u);
        uint j = 0;
        for (; j + ${LANES} <= length; j += ${LANES})
          for (uint l = 0; l < ${LANES}; l++) {
            const uint at = first + j + l;
            const ${A} v = ${g_at("at")};
            direct_[l] += v;
            along_[l] += v * (${x_at("at")} - mean);
          }
        for (uint l = 0; j + l < length; l++) {
          const uint at = first + j + l;
          const ${A} v = ${g_at("at")};
          direct_[l] += v;
          along_[l] += v * (${x_at("at")} - mean);
        }
        taken += length;
        if (taken >= ${64 * LANES} || o + 1 == last) {
          taken = 0;
          for (uint w = ${LANES // 2}; w > 0; w /= 2)
            for (uint l = 0; l < w; l++) { direct_[l] += direct_[l + w]; along_[l] += along_[l + w]; }
          direct += direct_[0];
          along += along_[0];
          for (uint l = 0; l < ${LANES}; l++) direct_[l] = along_[l] = 0;
        }
      }
    p0[s * pitch + c] = direct;
    p1[shift + s * pitch + c] = along * rstd;
  }
%   else:
  __local ${A} lds[${WG}];
  const uint lid = get_local_id(0), lane = lid, threads = ${WG};
  for (uint task = get_group_id(0); task < channels * slices; task += get_num_groups(0)) {
    const uint c = task / slices, s = task % slices, first = min(outer, s * per), last = min(outer, first + per);
    const ${A} mean = means[c], rstd = rstds[c];
    ${A} direct = 0, along = 0;
    for (uint k = lid; k < (last - first) * inner; k += ${WG}) {
      const uint o = k / inner, at = ((first + o) * channels + c) * inner + k - o * inner;
      const ${A} v = ${g_at("at")};
      direct += v;
      along += v * (${x_at("at")} - mean);
    }
    ${row.tree(A, "direct", "a + b")}
    ${row.tree(A, "along", "a + b")}
    if (lid == 0) {
      p0[s * pitch + c] = direct;
      p1[shift + s * pitch + c] = along * rstd;
    }
  }
%   endif
% elif wide:
  const uint tiles = (channels + ${TILE} - 1) / ${TILE}, tasks = tiles * slices;
  ${A} direct[${TILE}], along[${TILE}], near[${TILE}], beside[${TILE}];
  for (uint task = get_group_id(0); task < tasks; task += get_num_groups(0)) {
    const uint c0 = task / slices * ${TILE}, s = task % slices, width = min(channels - c0, ${TILE}u), last = min(outer, s * per + per);
    for (uint l = 0; l < width; l++) direct[l] = along[l] = near[l] = beside[l] = 0;
    for (uint o = s * per; o < last; o++) {
      for (uint l = 0; l < width; l++) {
        const uint at = o * channels + c0 + l;
        const ${A} v = ${g_at("at")};
        near[l] += v;
        beside[l] += v * (${x_at("at")} - means[c0 + l]);
      }
      if ((o & 63) == 63 || o + 1 == last)
        for (uint l = 0; l < width; l++) { direct[l] += near[l]; along[l] += beside[l]; near[l] = beside[l] = 0; }
    }
    for (uint l = 0; l < width; l++) {
      p0[s * pitch + c0 + l] = direct[l];
      p1[shift + s * pitch + c0 + l] = along[l] * rstds[c0 + l];
    }
  }
% else:
  for (uint task = get_global_id(0); task < channels * slices; task += get_global_size(0)) {
    const uint c = task % channels, s = task / channels, last = min(outer, s * per + per);
    const ${A} mean = means[c];
    ${A} direct = 0, along = 0;
    for (uint o = s * per; o < last; o++) {
      const uint at = o * channels + c;
      const ${A} v = ${g_at("at")};
      direct += v;
      along += v * (${x_at("at")} - mean);
    }
    p0[s * pitch + c] = direct;
    p1[shift + s * pitch + c] = along * rstds[c];
  }
% endif
}
