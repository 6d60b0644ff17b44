<%doc>
The convolutions' products for strategy grid, as implicit matrix products (matmul/block.mako): patches are read element
by element into local memory, none is built.

grid_correlate computes what correlate.mako does: rows m by columns (n, y, x), summed over (c, ky, kx); one group a
batch. grid_weights computes what weights.mako does: rows m by columns (c, ky, kx), summed over a run of (n, y, x);
get_group_id(2) counts split * groups + group, the first of them at partial[po]; fold.mako adds the splits.
TUNABLES as in matmul/grid.mako.
</%doc>
<%namespace name="stage" file="stage.mako"/>
<%namespace name="block" file="/matmul/block.mako"/>
<%!
TUNABLES = dict(
    TM=(32, 32, (8, 16, 32, 64, 96, 128)),
    TN=(32, 32, (8, 16, 32, 64, 96, 128)),
    TK=(16, 16, (4, 8, 16, 32)),
    RM=(2, 2, (1, 2, 4, 6, 8)),
    RN=(2, 2, (1, 2, 4, 6, 8)),
)
CONSTRAINTS = ("TM % RM == 0 and TN % RN == 0", "TM // RM * (TN // RN) <= work_group", "TK * (TM + TN + 2) * 4 <= local_bytes", "RM * RN <= 64")
%>
<%
group = f"__kernel __attribute__((reqd_work_group_size({TN // RN}, {TM // RM}, 1)))"
%>
${out.definition("out")}
${stage.pixel(dtype)}
${group}
void grid_correlate(${stage.parameters(dtype)},
  __global const ${dtype.storage} *restrict w, const long wo, const long wg, const long wm, const long wc, const long wh, const long ww,
  __global const ${dtype.storage} *restrict bias, const long bo, const long bs, const int biased,
  ${out.results("out")}, const long oo, const long on, const long og, const long om, const long oh, const long ow,
  const int rows, const int images)
{
  const int g = get_group_id(2), columns = images * gh * gw, depth = channels * taph * tapw;
  __global const ${dtype.storage} *const image = src + so + g * sg;
  __global const ${dtype.storage} *const weight = w + wo + g * wg;
  ${block.sums(dtype, TM, TN, TK, RM, RN, "depth",
               lambda i, h: f"{i} < rows && {h} < depth ? "
                            f"{dtype.load('weight', f'{i} * wm + {h} / tapw / taph * wc + {h} / tapw % taph * wh + {h} % tapw * ww')} : {dtype.zero}",
               lambda j, h: f"{j} < columns ? pixel(image, {j}, {h}, {stage.module.IMAGE}) : {dtype.zero}", "1", "0")}
  <%block:each t="${dtype}" TM="${TM}" TN="${TN}" RM="${RM}" RN="${RN}" m="rows" n="columns">
      if (biased) v += ${dtype.load("bias", "bo + (g * rows + row) * bs")};
      const int x = column % gw, y = column / gw % gh, n = column / gw / gh;
      ${out.store("out", "oo + n * on + g * og + row * om + y * oh + x * ow", "v")};
  </%block:each>
}

${group}
void grid_weights(${stage.parameters(dtype)},
  __global const ${dtype.storage} *restrict grad, const long go, const long gn, const long gg, const long gm, const long gy, const long gx,
  __global ${dtype.c} *restrict partial, const int rows, const int images, const long po)
{
  const int g = get_group_id(2) % groups, split = get_group_id(2) / groups, splits = get_num_groups(2) / groups, depth = channels * taph * tapw;
  const long all = (long)images * gh * gw;
  const int from = all * split / splits, count = all * (split + 1) / splits - from;
  __global const ${dtype.storage} *const image = src + so + g * sg;
  __global const ${dtype.storage} *const gradient = grad + go + g * gg;
  ${block.sums(dtype, TM, TN, TK, RM, RN, "count",
               lambda i, h: f"{i} < rows && {h} < count ? {dtype.load('gradient', stage.module.place(i, f'(from + {h})'))} : {dtype.zero}",
               lambda j, h: f"{j} < depth && {h} < count ? pixel(image, from + {h}, {j}, {stage.module.IMAGE}) : {dtype.zero}", "1", "1")}
  <%block:each t="${dtype}" TM="${TM}" TN="${TN}" RM="${RM}" RN="${RN}" m="rows" n="depth">
      partial[po + (((long)split * groups + g) * rows + row) * depth + column] = v;
  </%block:each>
}
