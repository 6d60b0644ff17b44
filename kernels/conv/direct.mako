<%doc>
Convolutions whose groups have few rows, depthwise ones above all, for strategy grid: a tile of conv/grid.mako would be mostly empty.

direct_correlate computes what grid_correlate does for up to ``rows_at_once`` rows: an item sums them for one output, and reads a pixel once for all.
get_global_id(0) counts (y, x), 1 groups, 2 images.
direct_weights (rows_at_once 0) computes what grid_weights does for any rows: a work-group of WG items sums the products of one weight, which is number
get_group_id(0) of (row, c, ky, kx), over a run of (n, y, x), and adds the items' sums up as a tree.
Called by ops/convolution_launch.py.
</%doc>
<%!
TUNABLES = dict(WG=(1, 64, (1, 2, 4, 8, 16, 32, 64, 128, 256)))
CONSTRAINTS = ("WG <= work_group",)
%>
<%namespace name="stage" file="stage.mako"/>
<%namespace name="row" file="/norm/row.mako"/>
<% C = dtype.c %>
% if rows_at_once:
${out.definition("out")}
__kernel void direct_correlate(${stage.parameters(dtype)},
  __global const ${dtype.storage} *restrict w, const long wo, const long wg, const long wm, const long wc, const long wh, const long ww,
  __global const ${dtype.storage} *restrict bias, const long bo, const long bs, const int biased,
  ${out.results("out")}, const long oo, const long on, const long og, const long om, const long oh, const long ow,
  const int rows, const int images)
{
  const int place = get_global_id(0), g = get_global_id(1), n = get_global_id(2), x = place % gw, y = place / gw;
  if (y >= gh) return;
  ${C} ${", ".join(f"s{m} = {dtype.zero}" for m in range(rows_at_once))};
  for (int c = 0; c < channels; c++) {
    __global const ${dtype.storage} *const image = src + so + n * sn + g * sg + c * sc;
    __global const ${dtype.storage} *const weight = w + wo + g * wg + c * wc;
    for (int ky = 0; ky < taph; ky++) {
      const int r = y * strideh + dy0 + ky * dyh;
      if (r < 0 || r >= height) continue;
      for (int kx = 0; kx < tapw; kx++) {
        const int q = x * stridew + dx0 + kx * dxw;
        if (q < 0 || q >= width) continue;
        const ${C} v = ${dtype.load("image", "r * sh + q * sw")};
% for m in range(rows_at_once):
        s${m} = mad_${dtype.s}(${dtype.load("weight", f"min({m}, rows - 1) * wm + ky * wh + kx * ww")}, v, s${m});
% endfor
      }
    }
  }
% for m in range(rows_at_once):
  if (${m} < rows) {
    ${C} v = s${m};
    if (biased) v += ${dtype.load("bias", f"bo + (g * rows + {m}) * bs")};
    ${out.store("out", f"oo + n * on + g * og + {m} * om + y * oh + x * ow", "v")};
  }
% endfor
}
% else:
${stage.pixel(dtype)}
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void direct_weights(${stage.parameters(dtype)},
  __global const ${dtype.storage} *restrict grad, const long go, const long gn, const long gg, const long gm, const long gy, const long gx,
  __global ${C} *restrict partial, const int rows, const int images, const long po)
{
  __local ${C} lds[${WG}];
  const uint threads = ${WG}, lid = get_local_id(0), lane = lid;
  const int g = get_group_id(2) % groups, split = get_group_id(2) / groups, splits = get_num_groups(2) / groups, depth = channels * taph * tapw;
  const int row = get_group_id(0) / depth, column = get_group_id(0) % depth;
  const long all = (long)images * gh * gw;
  const int from = all * split / splits, to = all * (split + 1) / splits;
  __global const ${dtype.storage} *const image = src + so + g * sg;
  __global const ${dtype.storage} *const gradient = grad + go + g * gg;
  ${C} sum = ${dtype.zero};
  for (int output = from + (int)lid; output < to; output += ${WG})
    sum = mad_${dtype.s}(${dtype.load("gradient", stage.module.place("row", "output"))}, pixel(image, output, column, ${stage.module.IMAGE}), sum);
  ${row.tree(C, "sum", "a + b")}
  if (lid == 0) partial[po + (((long)split * groups + g) * rows + row) * depth + column] = sum;
}
% endif
