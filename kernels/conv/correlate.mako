<%doc>
out[n, g, m, y, x] = bias[g, m] + sum over c, ky, kx of w[g, m, c, ky, kx] * src[n, g, c, y * strideh + dy0 + ky * dyh,
x * stridew + dx0 + kx * dxw], zero outside the image (strategy wide). A convolution's forward pass is this with dy0 =
-padding, dyh = dilation; its gradient to the input is this, once for each remainder of the input's rows and columns by
the stride, with the taps that reach them (ops/convolution.py).

pack writes the weights as panels [g][tile of MR rows][c, ky, kx][MR], zeros below the last row. correlate: a work-item
owns a tile of tileh by tilew outputs of one image and up to ``tiles`` row tiles; it stages a window of up to ``block``
channels (stage.mako) and keeps MR by NR sums in registers over its taps. Outputs are numbered flat, over the window's surplus columns, or line by line
where that makes fewer vectors. out (the type): a chain may go on from the sums (codegen/fusion.py: Continued).
Bounds: STAGE and SUMS elements of private memory, TAPS offsets at a time and taps a side. TUNABLES as in
matmul/panel.mako.
</%doc>
<%namespace name="tile" file="/matmul/tile.mako"/>
<%namespace name="stage" file="stage.mako"/>
<%!
TUNABLES = dict(
    MR=(6, 6, tuple(range(1, 17))),
    NV=(4, 4, (1, 2, 4, 8)),
    VW=(8, 8, (2, 4, 8, 16)),
    STAGE=(8192, 8192, (512, 1024, 2048, 4096, 8192, 16384)),
    SUMS=(12288, 12288, (768, 1536, 3072, 6144, 12288, 24576)),
    TAPS=(256, 256, (128, 256, 512)),
)
CONSTRAINTS = ("1 < MR <= 64 // NV", "STAGE >= 2048 and SUMS >= 3072")  # for elements of 4 bytes; larger ones get a half or a quarter
%>
<%
NR = NV * VW
place = lambda i, j: f"{i} * padded + {j}"
one_group = "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))"
%>
${tile.types(dtype, VW)}
${stage.types(dtype, VW)}
${out.definition("out")}
${one_group}
void pack(__global const ${dtype.storage} *restrict w, const long wo, const long wg, const long wm, const long wc, const long wh, const long ww,
  __global E *restrict dst, const int rows, const int channels, const int taph, const int tapw)
{
  const long depth = (long)channels * taph * tapw;
  __global E *q = dst + (get_global_id(1) * get_global_size(0) + get_global_id(0)) * depth * ${MR};
  const int first = get_global_id(0) * ${MR};
  __global const ${dtype.storage} *const p = w + wo + get_global_id(1) * wg + first * wm;
  for (int c = 0; c < channels; c++)
    for (int y = 0; y < taph; y++)
      for (int x = 0; x < tapw; x++, q += ${MR})
#pragma clang loop vectorize(disable) unroll(disable)
        for (int i = 0; i < ${MR}; i++)
          q[i] = first + i < rows ? ${dtype.load("p", "i * wm + c * wc + y * wh + x * ww")} : 0;
}

${one_group}
void correlate(${stage.parameters(dtype)},
  __global const E *restrict w, __global const ${dtype.storage} *restrict bias, const long bo, const long bs, const int biased,
  ${out.results("out")}, const long oo, const long on, const long og, const long om, const long oh, const long ow,
  const int rows, const int block, const int tiles)
{
  E stage[${STAGE + NR}];
  V sums[${SUMS // VW}];
  int taps[${TAPS}], tap_row[${TAPS}], tap_column[${TAPS}];
  const long n = get_global_id(2) / groups, g = get_global_id(2) % groups;
  const int first = get_global_id(1) * tiles, total = (rows + ${MR - 1}) / ${MR}, last = min(first + tiles, total), area = taph * tapw;
  ${stage.tile("(int)get_global_id(0)")}
  ${stage.window()}
  ${stage.shape()}
  const int flat = (th - 1) * pitch + tw, apart = th * ((tw + ${NR - 1}) / ${NR}) < (flat + ${NR - 1}) / ${NR};
  const int lines = apart ? th : 1, line = ((apart ? tw : flat) + ${NR - 1}) / ${NR} * ${NV}, padded = lines * line;
  ${stage.places(TAPS)}
  if (channels * area == 0)
    for (int i = 0; i < (last - first) * ${MR} * padded; i++) sums[i] = (V)(0);
  for (int c0 = 0; c0 < channels; c0 += block) {
    const int held = min(block, channels - c0);
    __global const ${dtype.storage} *const image = src + so + n * sn + g * sg + c0 * sc;
    ${stage.fill(dtype, "image", "held", VW)}
    for (int i = 0; i < ${NR}; i++) stage[held * channel + i] = 0;
    for (int k0 = 0; k0 < held * area; k0 += ${TAPS}) {
      const int kc = min(${TAPS}, held * area - k0);
      ${stage.taps("k0", "kc")}
      for (int r = first; r < last; r++)
        for (int p = 0; p < padded; p += ${NV}) {
          __global const E *x = w + ((g * total + r) * (long)channels * area + c0 * area + k0) * ${MR};
          const E *const y = stage + p / line * pitch + p % line * ${VW};
          V *const kept = sums + (r - first) * ${MR} * padded + p;
          ${tile.declare(dtype, MR, NV)}
          for (int k = 0; k < kc; k++, x += ${MR}) {
            const E *const z = y + taps[k];
            ${tile.step(dtype, MR, NV, lambda i, plane: f"x[{i}]", lambda j, plane: f"*(const VU *)(z + {j * VW})")}
          }
          if (c0 + k0 > 0) {
            ${tile.add(dtype, MR, NV, "kept", place)}
          }
          ${tile.put(dtype, MR, NV, "kept", place)}
        }
    }
  }
  for (int m = first * ${MR}; m < min(last * ${MR}, rows); m++) {
    const ${dtype.c} shift = biased ? ${dtype.load("bias", "bo + (g * rows + m) * bs")} : 0;
    for (int y = 0; y < th; y++) {
      const E *const s = (const E *)(sums + (m - first * ${MR}) * padded) + y * (apart ? line * ${VW} : pitch);
      const long row = oo + n * on + g * og + m * om + (ty + y) * oh + tx * ow;
% if out.chained:
      if (ow == 1)
        for (int x = 0; x < tw; x++) ${out.store("out", "row + x", "s[x] + shift")};
      else
% elif stage.module.vectorised(dtype):
      if (ow == 1 && tw >= ${VW}) {
        __global ${dtype.storage} *const to = out + row;
        int x = 0;
        for (; x + ${VW} <= tw; x += ${VW}) *(__global VU *)(to + x) = *(const VU *)(s + x) + (V)(shift);
        if (x < tw) *(__global VU *)(to + tw - ${VW}) = *(const VU *)(s + tw - ${VW}) + (V)(shift);
      } else
% endif
        for (int x = 0; x < tw; x++) ${out.store("out", "row + x * ow", "s[x] + shift")};
    }
  }
}
