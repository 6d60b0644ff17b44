<%doc>
out[n, g, m, y, x] = bias[g, m] + sum over c, ky, kx of w[g, m, c, ky, kx] * src[n, g, c, y + dy0 + ky, x + dx0 + kx], zero
outside the image, for kernels of 3 x 3 (strategy wide): Winograd's F(2 x 2, 3 x 3), which makes 16 multiplications for a
square of 2 x 2 outputs where correlate.mako makes 36. Lavin and Gray 2015, https://arxiv.org/abs/1509.09308. For real types
that lie in memory as they are summed.

With B, G and A below, a square of outputs is A' (G w G' * B' d B) A for its 4 x 4 pixels d: at each of 16 places a product
of matrices, rows by channels and channels by squares.
  pack      writes G w G' as panels [g][place][tile of MR rows][c][MR]; each panel ends with VW elements that nobody reads
  winograd  a work-item owns ``high`` rows of squares, counted through the images, by ``wide`` squares, and up to ``share``
            row tiles. It keeps B' d B of up to ``block`` channels, multiplies ``tiles`` row tiles at a time with it, in
            registers MR by NR, and writes A' (sums) A. Channels are transformed once where all fit into a block.
            The pixels of a row are staged apart, even ones and odd ones, so that neighbouring squares are neighbouring lanes.
Bounds: STAGE, TILED and SUMS elements of private memory. No more of the image is ever transformed. Between the places' planes lie two spare vectors,
for the last squares' surplus lanes, and because 16 lines a power of two apart would share few places of a cache.
TUNABLES as in matmul/panel.mako; TILED and SUMS should fit into a second-level cache.
</%doc>
<%namespace name="tile" file="/matmul/tile.mako"/>
<%!
TUNABLES = dict(
    MR=(6, 6, tuple(range(2, 17))),
    NV=(2, 2, (1, 2, 3, 4)),
    VW=(8, 8, (4, 8, 16)),
    STAGE=(4096, 4096, (2048, 4096, 8192)),
    TILED=(65536, 65536, (16384, 32768, 65536, 131072)),
    SUMS=(32768, 32768, (16384, 32768, 65536)),
)
CONSTRAINTS = ("MR <= 64 // NV",)
%>
<%
NR = NV * VW
place = lambda i, j: f"{i} * vectors + {j}"
mixed = lambda a, b, first: f"(V)({', '.join(f'{a}.s{n:x}, {b}.s{n:x}' for n in range(first, first + VW // 2))})"
one_group = "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))"
%>
${tile.types(dtype, VW)}
typedef ${tile.module.lane(dtype)}${VW // 2} HU __attribute__((aligned(sizeof(E))));

## A program holds one kernel, ``part``: the same panels serve results of every kind.
% if part == "pack":
${one_group}
void pack(__global const E *restrict w, const long wo, const long wg, const long wm, const long wc, const long wh, const long ww,
  __global E *restrict dst, const int rows, const int channels)
{
  const long panel = (long)channels * ${MR} + ${VW}, plane = get_global_size(0) * panel;
  const int first = get_global_id(0) * ${MR};
  __global E *q = dst + get_global_id(1) * 16 * plane + get_global_id(0) * panel;
% for i in range(MR):
  __global const E *p${i} = w + wo + get_global_id(1) * wg + min(first + ${i}, rows - 1) * wm;
% endfor
  for (int c = 0; c < channels; c++, q += ${MR}) {
% for r in range(0, MR, VW):
    {
% for y in range(3):
% for x in range(3):
      const V g${y}${x} = (V)(${", ".join(f"p{i}[{y} * wh + {x} * ww]" if i < MR else "0" for i in range(r, r + VW))});
% endfor
% endfor
% for x in range(3):
      const V ends${x} = (g0${x} + g2${x}) * (V)(0.5f), half${x} = g1${x} * (V)(0.5f);
      const V t0${x} = g0${x}, t1${x} = ends${x} + half${x}, t2${x} = ends${x} - half${x}, t3${x} = g2${x};
% endfor
% for y in range(4):
      const V ends_${y} = (t${y}0 + t${y}2) * (V)(0.5f), half_${y} = t${y}1 * (V)(0.5f);
      *(__global VU *)(q + ${4 * y} * plane + ${r}) = t${y}0;
      *(__global VU *)(q + ${4 * y + 1} * plane + ${r}) = ends_${y} + half_${y};
      *(__global VU *)(q + ${4 * y + 2} * plane + ${r}) = ends_${y} - half_${y};
      *(__global VU *)(q + ${4 * y + 3} * plane + ${r}) = t${y}2;
% endfor
    }
% endfor
    ${" ".join(f"p{i} += wc;" for i in range(MR))}
  }
}
% endif

## The 2 * run + 2 rows of pixels under ``run`` rows of squares from row ``ty`` on, into stage: 2 * wide + 2 pixels each, the even ones first.
<%def name="staged(image)">
  const int x0 = 2 * tx + dx0, count = 2 * tw + 2, from = min(max(-x0, 0), count), to = max(from, min(width - x0, count));
  for (int i = 0; i < 2 * run + 2; i++) {
    const int y = 2 * ty + dy0 + i, inside = y >= 0 && y < height;
    E *const even = stage + 2 * i * pitch, *const odd = even + pitch;
    E *const one = (from % 2 ? odd : even) + from / 2, *const two = from % 2 ? even + from / 2 + 1 : odd + from / 2;
    for (int x = 0; x < (inside ? from : count); x++) (x % 2 ? odd : even)[x / 2] = 0;
    if (!inside) continue;
    __global const E *const p = ${image} + y * sh + (x0 + from) * sw;
    int x = 0;
    if (sw == 1)
      for (; x + ${VW} <= to - from; x += ${VW}) {
        const V v = *(__global const VU *)(p + x);
        *(HU *)(one + x / 2) = v.even;
        *(HU *)(two + x / 2) = v.odd;
      }
    for (; x < to - from; x++) (x % 2 ? two : one)[x / 2] = p[x * sw];
    for (x = to; x < count; x++) (x % 2 ? odd : even)[x / 2] = 0;
  }
</%def>

## B' d B of the squares from stage element p on, into the 16 places' planes from q on.
<%def name="transformed()">
% for k, at in enumerate(("0", "pitch", "1", "pitch + 1")):
  const V d0_${k} = *(const VU *)(p + ${at}), d1_${k} = *(const VU *)(p + 2 * pitch + ${at});
  const V d2_${k} = *(const VU *)(p + 4 * pitch + ${at}), d3_${k} = *(const VU *)(p + 6 * pitch + ${at});
  const V a0_${k} = d0_${k} - d2_${k}, a1_${k} = d1_${k} + d2_${k}, a2_${k} = d2_${k} - d1_${k}, a3_${k} = d1_${k} - d3_${k};
% endfor
% for i in range(4):
  *(VU *)(q + ${i * 4} * plane * ${VW}) = a${i}_0 - a${i}_2;
  *(VU *)(q + ${i * 4 + 1} * plane * ${VW}) = a${i}_1 + a${i}_2;
  *(VU *)(q + ${i * 4 + 2} * plane * ${VW}) = a${i}_2 - a${i}_1;
  *(VU *)(q + ${i * 4 + 3} * plane * ${VW}) = a${i}_1 - a${i}_3;
% endfor
</%def>

## A' (sums) A of the squares from p on, plus shift, to the outputs from ``line`` on.
<%def name="finished()">
% for k in range(4):
  const V p0_${k} = *(const VU *)(p + ${k} * above * ${VW}), p1_${k} = *(const VU *)(p + ${4 + k} * above * ${VW});
  const V p2_${k} = *(const VU *)(p + ${8 + k} * above * ${VW}), p3_${k} = *(const VU *)(p + ${12 + k} * above * ${VW});
  const V b0_${k} = p0_${k} + p1_${k} + p2_${k}, b1_${k} = p1_${k} - p2_${k} - p3_${k};
% endfor
  const int count = min(${2 * VW}, min(2 * (tw - t), gw - 2 * (tx + t)));
% for i in range(2):
  if (2 * ty + ${i} < gh) {
    const V one = b${i}_0 + b${i}_1 + b${i}_2 + (V)(shift), two = b${i}_1 - b${i}_2 - b${i}_3 + (V)(shift);
    const V left = ${mixed("one", "two", 0)}, right = ${mixed("one", "two", VW // 2)};
    const long y = line + ${i} * oh + 2 * t * ow;
% if out.chained:
    const V both[2] = {left, right};
    const E *const s = (const E *)both;
    if (ow == 1 && count == ${2 * VW}) {
#pragma clang loop vectorize(enable) interleave_count(2)
      for (int x = 0; x < ${2 * VW}; x++) ${out.store("out", "y + x", "s[x]")};
    } else
      for (int x = 0; x < count; x++) ${out.store("out", "y + x * ow", "s[x]")};
% else:
    if (ow == 1 && count == ${2 * VW}) {
      *(__global VU *)(out + y) = left;
      *(__global VU *)(out + y + ${VW}) = right;
    } else {
      V both[2] = {left, right};
      for (int x = 0; x < count; x++) out[y + x * ow] = ((const E *)both)[x];
    }
% endif
  }
% endfor
</%def>

% if part == "winograd":
${out.definition("out")}
${one_group}
void winograd(__global const E *restrict src, const long so, const long sn, const long sg, const long sc, const long sh, const long sw,
  const int height, const int width, const int channels, const int gh, const int gw, const int dy0, const int dx0, const int high, const int wide,
  __global const E *restrict w, __global const E *restrict bias, const long bo, const long bs, const int biased,
  ${out.results("out")}, const long oo, const long on, const long og, const long om, const long oh, const long ow,
  const int images, const int rows, const int block, const int share, const int tiles)
{
  E stage[${STAGE}];
  V tiled[${TILED // VW + 32}], sums[${SUMS // VW + 32}];
  const long g = get_global_id(2);
  const int down = (gh + 1) / 2, across = ((gw + 1) / 2 + wide - 1) / wide, total = (rows + ${MR - 1}) / ${MR};
  const int top = get_global_id(0) / across * high, tx = get_global_id(0) % across * wide;
  const int th = min(high, images * down - top), tw = min(wide, (gw + 1) / 2 - tx), pitch = tw + 1 + ${VW};
  const int vectors = (th * tw + ${NR - 1}) / ${NR} * ${NV}, plane = block * vectors + 2, above = tiles * ${MR} * vectors + 2;
  const int begin = get_global_id(1) * share, end = min(begin + share, total);
  for (int i = 0; i < (2 * min(th, down) + 2) * 2 * pitch; i++) stage[i] = 0;  // surplus lanes are read, too
  for (int f = 1; f <= 16; f++) sums[f * above - 2] = sums[f * above - 1] = (V)(0);
  for (int first = begin; first < end; first += tiles) {
    const int last = min(first + tiles, end);
    for (int c0 = 0; c0 < channels; c0 += block) {
      const int held = min(block, channels - c0);
      for (int c = 0; c < (first == begin || block < channels ? held : 0); c++) {
        for (int f = 0; f < 16; f++)
          for (int i = th * tw / ${VW}; i < vectors; i++) tiled[f * plane + c * vectors + i] = (V)(0);
        for (int r = 0, run; r < th; r += run) {
          const int n = (top + r) / down, ty = (top + r) % down;
          run = min(th - r, down - ty);
          __global const E *const image = src + so + n * sn + g * sg + (c0 + c) * sc;
          ${staged("image")}
          for (int j = 0; j < run; j++)
            for (int t = 0; t < tw; t += ${VW}) {
              const E *const p = stage + 4 * j * pitch + t;
              E *const q = (E *)(tiled + c * vectors) + (r + j) * tw + t;
              ${transformed()}
            }
        }
      }
      for (int f = 0; f < 16; f++)
        for (int p = 0; p < vectors; p += ${NV})
          for (int r = first; r < last; r++) {
            __global const E *x = w + ((g * 16 + f) * total + r) * ((long)channels * ${MR} + ${VW}) + c0 * ${MR};
            const V *y = tiled + f * plane + p;
            V *const kept = sums + f * above + (r - first) * ${MR} * vectors + p;
            ${tile.declare(dtype, MR, NV)}
            for (int k = 0; k < held; k++, x += ${MR}, y += vectors) {
              ${tile.step(dtype, MR, NV, lambda i, plane: f"x[{i}]", lambda j, plane: f"y[{j}]")}
            }
            if (c0 > 0) {
              ${tile.add(dtype, MR, NV, "kept", place)}
            }
            ${tile.put(dtype, MR, NV, "kept", place)}
          }
    }
    for (int m = first * ${MR}; m < min(last * ${MR}, rows); m++) {
      const E shift = biased ? bias[bo + (g * rows + m) * bs] : 0;
      for (int r = 0; r < th; r++) {
        const int n = (top + r) / down, ty = (top + r) % down;
        const long line = oo + n * on + g * og + m * om + 2 * ty * oh + 2 * tx * ow;
        for (int t = 0; t < tw; t += ${VW}) {
          const E *const p = (const E *)(sums + (m - first * ${MR}) * vectors) + r * tw + t;
          ${finished()}
        }
      }
    }
  }
}
% endif
