<%doc>
dw[g, m, c, ky, kx] = sum over n, y, x of grad[n, g, m, y, x] * src[n, g, c, y * strideh + dy0 + ky * dyh, x * stridew +
dx0 + kx * dxw] (strategy wide): the gradient of a convolution to its weights.

weights: a work-item owns ``high`` rows of m by ``deep`` of the flat (c, ky, kx), and every ``splits``-th run of (image,
tile of outputs) jobs. It stages the image's window (stage.mako) and the gradient, sums over the job's outputs, and
writes partial[split, g, m, k] in the end; fold.mako adds the splits in order. ``lanes`` of the sums' vectors are
  outputs  the gradient lies as the window does, row by row: a sum is a product of two contiguous runs, whose lanes stay
           apart until the end
  rows     the gradient lies output by output, its rows side by side (``high`` is whole vectors of them, zeros below the last row):
           each output adds a pixel times a vector. Nothing waits in memory between a job's outputs, so short jobs do.
Bounds: STAGE elements of window, GRAD of gradient, PAIRS vectors of sums, TAPS offsets.
TUNABLES: R (rows, or vectors of them) by C sums in registers at a time, VW lanes.
</%doc>
<%namespace name="tile" file="/matmul/tile.mako"/>
<%namespace name="stage" file="stage.mako"/>
<%!
TUNABLES = dict(
    R=(4, 4, (1, 2, 3, 4)),
    C=(4, 4, (2, 3, 4, 6, 8)),
    VW=(8, 8, (2, 4, 8, 16)),
    STAGE=(8192, 8192, (512, 1024, 2048, 4096, 8192, 16384)),
    GRAD=(12288, 12288, (768, 1536, 3072, 6144, 12288, 24576)),
    PAIRS=(768, 768, (384, 768)),
    TAPS=(256, 256, (128, 256)),
)
CONSTRAINTS = ("STAGE >= 2048 and GRAD >= 3072",)  # as in correlate.mako
%>
<%
rowwise = lanes == "rows"
TURNED = min(4, VW)  # rows and outputs that change places at a time
%>
${tile.types(dtype, VW)}
${stage.types(dtype, VW)}
% if rowwise:
typedef ${tile.module.lane(dtype)}${TURNED} ET;
typedef ${tile.module.lane(dtype)}${TURNED} ETU __attribute__((aligned(sizeof(E))));
% endif
## The gradient's tile, row by row with the window's width, zeros between.
<%def name="rows_of_gradient()">
    const int flat = (th - 1) * pitch + tw, padded = (flat + ${VW - 1}) / ${VW} * ${VW};
    for (int m = 0; m < mc; m++) {
      E *const row = held + m * padded;
      for (int y = 0; y < th; y++) {
        __global const ${dtype.storage} *const p = from_grad + m * gm + y * gy;
        E *const q = row + y * pitch;
        if (gx == 1) {
          ${stage.copy(dtype, "q", "p", "0", "tw", VW)}
        } else
          for (int x = 0; x < tw; x++) q[x] = ${dtype.load("p", "x * gx")};
        for (int x = y * pitch + tw; x < min((y + 1) * pitch, padded); x++) row[x] = 0;
      }
      for (int x = flat; x < padded; x++) row[x] = 0;
    }
</%def>
## The gradient's tile, output by output, its rows side by side.
<%def name="columns_of_gradient()">
    for (int y = 0; y < th; y++)
      for (int m = 0; m < high; m += ${TURNED}) {
        E *const q = held + y * tw * high + m;
        __global const ${dtype.storage} *const p = from_grad + m * gm + y * gy;
% if stage.module.vectorised(dtype):
        if (m + ${TURNED} <= mc && gx == 1 && tw >= ${TURNED}) {
          for (int next = 0; next < tw; next += ${TURNED}) {
            const int x = min(next, tw - ${TURNED});
% for r in range(TURNED):
            const ET e${r} = *(__global const ETU *)(p + ${r} * gm + x);
% endfor
% for c in range(TURNED):
            *(ET *)(q + (x + ${c}) * high) = (ET)(${", ".join(f"e{r}.s{c}" for r in range(TURNED))});
% endfor
          }
          continue;
        }
% endif
        for (int x = 0; x < tw; x++)
          for (int r = 0; r < ${TURNED}; r++) q[x * high + r] = m + r < mc ? ${dtype.load("p", "r * gm + x * gx")} : 0;
      }
</%def>
## Sums of R rows by C taps over the job's outputs, a vector of them a turn.
<%def name="along_outputs()">
    for (int k = 0; k < kc; k += ${C})
      for (int m = 0; m < mc; m += ${R}) {
% for r in range(R):
        const E *const x${r} = held + min(m + ${r}, mc - 1) * padded;
% endfor
% for c in range(C):
        const E *const y${c} = stage + taps[min(k + ${c}, kc - 1)];
% endfor
% for r in range(R):
        V ${", ".join(f"s{r}_{c} = (V)(0)" for c in range(C))};
% endfor
        for (long p = 0; p < padded; p += ${VW}) {
% for r in range(R):
          const V u${r} = *(const VU *)(x${r} + p);
% endfor
% for c in range(C):
          { const V v = *(const VU *)(y${c} + p); ${" ".join(f"s{r}_{c} += u{r} * v;" for r in range(R))} }
% endfor
        }
% for r in range(R):
% for c in range(C):
        if (m + ${r} < mc && k + ${c} < kc) sums[(m + ${r}) * deep + k + ${c}] += s${r}_${c};
% endfor
% endfor
      }
</%def>
## Sums of R vectors of rows by C taps, an output a turn.
<%def name="along_rows()">
    for (int k = 0; k < kc; k += ${C}) {
% for c in range(C):
      const E *const y${c} = stage + taps[min(k + ${c}, kc - 1)];
% endfor
      for (int m = 0; m < high; m += ${R * VW}) {
        const E *u = held + m;
% for r in range(R):
        V ${", ".join(f"s{r}_{c} = (V)(0)" for c in range(C))};
% endfor
        for (long y = 0; y < th; y++)
          for (long p = y * pitch; p < y * pitch + tw; p++, u += high) {
% for r in range(R):
            const V u${r} = *(const V *)(u + ${r * VW});
% endfor
% for c in range(C):
            { const V v = (V)(y${c}[p]); ${" ".join(f"s{r}_{c} += u{r} * v;" for r in range(R))} }
% endfor
          }
% for c in range(C):
        if (k + ${c} < kc) {
% for r in range(R):
          sums[(k + ${c}) * (high / ${VW}) + m / ${VW} + ${r}] += s${r}_${c};
% endfor
        }
% endfor
      }
    }
</%def>
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void weights(${stage.parameters(dtype)},
  __global const ${dtype.storage} *restrict grad, const long go, const long gn, const long gg, const long gm, const long gy, const long gx,
  __global E *restrict partial, const int rows, const int images, const int high, const int deep)
{
  E stage[${STAGE + VW}];
  V sums[${PAIRS}], gradient[${GRAD // VW}];
  E *const held = (E *)gradient;
  int taps[${TAPS}], tap_row[${TAPS}], tap_column[${TAPS}];
  const int area = taph * tapw, depth = channels * area, below = (rows + high - 1) / high;
  const int m0 = get_global_id(0) % below * high, k0 = get_global_id(0) / below * deep;
  const int mc = min(high, rows - m0), kc = min(deep, depth - k0), c0 = k0 / area, cc = (k0 + kc - 1) / area - c0 + 1;
  const long g = get_global_id(2);
  const int each = (gh + tileh - 1) / tileh * ((gw + tilew - 1) / tilew);
  const long jobs = (long)images * each, from = jobs * get_global_id(1) / get_global_size(1), to = jobs * (get_global_id(1) + 1) / get_global_size(1);
  ${stage.window()}
  for (int i = 0; i < ${f"high / {VW}" if rowwise else "mc"} * deep; i++) sums[i] = (V)(0);
  for (long job = from; job < to; job++) {
    const long n = job / each;
    ${stage.tile("(int)(job % each)")}
    ${stage.shape()}
    __global const ${dtype.storage} *const image = src + so + n * sn + g * sg + c0 * sc;
    __global const ${dtype.storage} *const from_grad = grad + go + n * gn + g * gg + m0 * gm + ty * gy + tx * gx;
    ${stage.fill(dtype, "image", "cc", VW)}
    for (int i = 0; i < ${VW}; i++) stage[cc * channel + i] = 0;
    ${columns_of_gradient() if rowwise else rows_of_gradient()}
    ${stage.places(TAPS)}
    ${stage.taps("k0 - c0 * area", "kc")}
    ${along_rows() if rowwise else along_outputs()}
  }
  __global E *const out = partial + ((get_global_id(1) * groups + g) * rows + m0) * depth + k0;
  for (int m = 0; m < mc; m++)
    for (int k = 0; k < kc; k++) {
% if rowwise:
      out[(long)m * depth + k] = ((const E *)sums)[k * high + m];
% else:
      const V s = sums[m * deep + k];
      out[(long)m * depth + k] = ${tile.module.total("s", VW)};
% endif
    }
}
