<%doc>
What the templates of conv/ share: only defs, no kernel. Below: staging of image tiles for strategy wide, in correlate.mako and weights.mako.

A tile of th by tw outputs reads, for each channel, a window of the source image. It is copied into a private array with
zeros outside the image, so laid out that moving from one output to the next, also to the next row, moves every tap by
one element: outputs are numbered flat with the window's width ``pitch``, and the few numbers between tw and pitch are
computed and dropped. With a stride the window is kept as ``py`` by ``px`` planes, one for each remainder of its rows
and columns. A tap is then one offset, and neighbouring outputs are neighbouring elements: vectors are read from the
window itself, no patch is ever built.

The window's parts: plane = rows * pitch elements, channel = py * px * plane. Bound: STAGE elements a work-item.
</%doc>
<%!
def widths(VW):
    """Lanes of the vectors that copy: the widest that a row has room for, so that the last one may overlap."""
    return [w for w in (16, 8, 4, 2) if w <= VW and w >= min(4, VW)]


def vectorised(t):
    """Whether memory holds what is summed."""
    return t.name in ("float32", "float64")


def place(row, output):
    """The index of a gradient's element: a row, and a flat (image, row, column) number."""
    return f"{output} / gw / gh * gn + {row} * gm + {output} / gw % gh * gy + {output} % gw * gx"


IMAGE = "sn, sc, sh, sw, height, width, channels, gh, gw, strideh, stridew, taph, tapw, dy0, dyh, dx0, dxw"
%>
<%def name="parameters(t)">
  __global const ${t.storage} *restrict src, const long so, const long sn, const long sg, const long sc, const long sh, const long sw,
  const int height, const int width, const int channels, const int gh, const int gw, const int strideh, const int stridew,
  const int taph, const int tapw, const int dy0, const int dyh, const int dx0, const int dxw, const int groups, const int tileh, const int tilew\
</%def>

## What is under tap k, a flat (c, ky, kx) number, of output j, a flat (image, row, column) number; 0 outside of the image.
<%def name="pixel(dtype)">
static inline ${dtype.c} pixel(__global const ${dtype.storage} *src, const int j, const int k, const long sn, const long sc, const long sh, const long sw,
  const int height, const int width, const int channels, const int gh, const int gw, const int strideh, const int stridew,
  const int taph, const int tapw, const int dy0, const int dyh, const int dx0, const int dxw)
{
  const int x = j % gw, y = j / gw % gh, n = j / gw / gh, kx = k % tapw, ky = k / tapw % taph, c = k / tapw / taph;
  const int r = y * strideh + dy0 + ky * dyh, q = x * stridew + dx0 + kx * dxw;
  return c < channels && r >= 0 && r < height && q >= 0 && q < width ? ${dtype.load("src", "n * sn + c * sc + r * sh + q * sw")} : ${dtype.zero};
}
</%def>

## The tile of outputs that work-item get_global_id(0) of an image owns, and the shape of its window.
<%def name="tile(index)">
  const int across = (gw + tilew - 1) / tilew, ty = (${index}) / across * tileh, tx = (${index}) % across * tilew;
  const int th = min(tileh, gh - ty), tw = min(tilew, gw - tx);
</%def>

<%def name="window()">
  const int lasty = dy0 + max(taph - 1, 0) * dyh, lastx = dx0 + max(tapw - 1, 0) * dxw;
  const int lowy = min(dy0, lasty), lowx = min(dx0, lastx), spany = max(dy0, lasty) - lowy, spanx = max(dx0, lastx) - lowx;
  const int py = min(strideh, spany + 1), px = min(stridew, spanx + 1);
</%def>

<%def name="shape()">
  const int pitch = tw + spanx / stridew, plane = (th + spany / strideh) * pitch, channel = py * px * plane;
</%def>

## Where the taps' rows and columns of output 0 lie in a channel's window: their sum is a tap's offset.
<%def name="places(TAPS)">
  for (int k = 0; k < taph; k++) {
    const int e = dy0 + k * dyh - lowy;
    tap_row[k] = e % strideh * px * plane + e / strideh * pitch;
  }
  for (int k = 0; k < tapw; k++) {
    const int e = dx0 + k * dxw - lowx;
    tap_column[k] = e % stridew * plane + e / stridew;
  }
</%def>

## The offsets of ``count`` taps from the flat (c, ky, kx) number ``first`` on, into ``taps``.
<%def name="taps(first, count)">
  for (int k = 0, c = (${first}) / area, ky = (${first}) % area / tapw, kx = (${first}) % tapw; k < ${count}; k++) {
    taps[k] = c * channel + tap_row[ky] + tap_column[kx];
    if (++kx == tapw) { kx = 0; if (++ky == taph) { ky = 0; c++; } }
  }
</%def>

## Vectors at any element's address, as wide as copies are.
<%def name="types(t, VW)">
% if vectorised(t):
% for w in widths(VW):
typedef ${t.storage}${w} S${w};
typedef ${t.storage}${w} SU${w} __attribute__((aligned(sizeof(${t.storage}))));
% endfor
% endif
</%def>

## row[x] = value for x from ``first`` to ``last``: in vectors where memory holds what is summed, the last one
## overlapping.
<%def name="copy(t, row, p, first, last, VW)">
% if vectorised(t):
% for w in widths(VW):
  if (${last} - ${first} >= ${w}) {
    int x = ${first};
    for (; x + ${w} <= ${last}; x += ${w}) *(SU${w} *)(${row} + x) = *(__global const SU${w} *)(${p} + x);
    if (x < ${last}) *(SU${w} *)(${row} + ${last} - ${w}) = *(__global const SU${w} *)(${p} + ${last} - ${w});
  } else
% endfor
% endif
    for (int x = ${first}; x < ${last}; x++) ${row}[x] = ${t.load(p, "x")};
</%def>

## row[x] = every second value from x to ``last``, where two vectors' odd lanes make one: what they read ends at the last value that is wanted, so
## that the first of a line, which has none before it, is copied alone.
<%def name="alternate(t, row, p, x, last, VW)">
% if vectorised(t):
  if (stridew == 2 && sw == 1) {
    if (x0 + 2 * ${x} == 0 && ${x} < ${last}) { ${row}[${x}] = ${p}[2 * ${x}]; ${x}++; }
% for w in widths(VW):
    ${"else " if w < VW else ""}if (${last} - ${x} >= ${w})
      while (${x} < ${last}) {
        ${x} = min(${x}, ${last} - ${w});
        __global const SU${w} *const pair = (__global const SU${w} *)(${p} + 2 * ${x} - 1);
        *(SU${w} *)(${row} + ${x}) = (S${w})(pair[0].odd, pair[1].odd);
        ${x} += ${w};
      }
% endfor
  }
% endif
</%def>

## The columns of a row of memory, from x0 on, in turns to two rows of the window, a vector of each at a time (of two lengths: a
## third takes the compiler longer than it saves).
<%def name="deal(t, p, VW)">
        const int from = max(x0, 0), to = y < 0 || y >= height ? from : max(from, min(x0 + 2 * pitch, width));
#pragma clang loop vectorize(disable) unroll(disable)
        for (int x = 0; x < min((from - x0 + 1) / 2, pitch); x++) row[x] = row[plane + x] = 0;
#pragma clang loop vectorize(disable) unroll(disable)
        for (int x = max((to - x0) / 2, 0); x < pitch; x++) row[x] = row[plane + x] = 0;
% for w in dict.fromkeys((VW, min(4, VW))):
        if (to - from >= ${2 * w})
          for (int x = from; x < to; x += ${2 * w}) {
            x = min(x, to - ${2 * w});
            __global const SU${w} *const pair = (__global const SU${w} *)(${p} + x);
            const int odd = (x - x0) & 1, at = (x - x0) >> 1;
            *(SU${w} *)(row + (odd ? plane : 0) + at) = (S${w})(pair[0].even, pair[1].even);
            *(SU${w} *)(row + (odd ? 1 : plane) + at) = (S${w})(pair[0].odd, pair[1].odd);
          }
        else
% endfor
#pragma clang loop vectorize(disable) unroll(disable)
          for (int x = from; x < to; x++) row[((x - x0) & 1) * plane + ((x - x0) >> 1)] = ${p}[x];
</%def>

## Copies ``count`` channels from ``image`` on into ``stage``.
<%def name="fill(t, image, count, VW)">
  for (int c = 0; c < ${count}; c++)
    for (int a = 0; a < py; a++) {
% if vectorised(t):
      if (stridew == 2 && px == 2 && sw == 1) {
        E *row = stage + c * channel + 2 * a * plane;
        const int x0 = tx * 2 + lowx;
        for (int r = 0; r < th + spany / strideh; r++, row += pitch) {
          const int y = (ty + r) * strideh + lowy + a;
          __global const ${t.storage} *const p = ${image} + c * sc + y * sh;
          ${deal(t, "p", VW)}
        }
        continue;
      }
% endif
      for (int b = 0; b < px; b++) {
        E *row = stage + c * channel + (a * px + b) * plane;
        const int x0 = tx * stridew + lowx + b;
        const int first = x0 >= 0 ? 0 : min((-x0 + stridew - 1) / stridew, pitch);
        const int reach = x0 >= width ? 0 : min((width - x0 + stridew - 1) / stridew, pitch);
        for (int r = 0; r < th + spany / strideh; r++, row += pitch) {
          const int y = (ty + r) * strideh + lowy + a, last = y < 0 || y >= height ? first : max(first, reach);
          __global const ${t.storage} *const p = ${image} + c * sc + y * sh + x0 * sw;
#pragma clang loop vectorize(disable) unroll(disable)
          for (int x = 0; x < first; x++) row[x] = 0;
          if (stridew == 1 && sw == 1) {
            ${copy(t, "row", "p", "first", "last", VW)}
          } else {
            int x = first;
            ${alternate(t, "row", "p", "x", "last", VW)}
#pragma clang loop vectorize(disable) unroll(disable)
            for (; x < last; x++) row[x] = ${t.load("p", "x * stridew * sw")};
          }
#pragma clang loop vectorize(disable) unroll(disable)
          for (int x = last; x < pitch; x++) row[x] = 0;
        }
      }
    }
</%def>
