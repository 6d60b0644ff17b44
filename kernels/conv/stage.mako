<%doc>
Staging of image tiles for the convolutions of strategy wide, shared by correlate.mako and weights.mako: only defs, no kernel.

A tile of th by tw outputs reads, for each channel, a window of the source image. It is copied into a private array with zeros outside the image, so laid out that
moving from one output to the next, also to the next row, moves every tap by one element: outputs are numbered flat with the window's width ``pitch``, and the
few numbers between tw and pitch are computed and dropped. With a stride the window is kept as ``py`` by ``px`` planes, one for each remainder of its rows and
columns. A tap is then one offset, and neighbouring outputs are neighbouring elements: vectors are read from the window itself, no patch is ever built.

The window's parts: plane = rows * pitch elements, channel = py * px * plane. Bound: STAGE elements a work-item.
</%doc>
<%def name="parameters(t)">
  __global const ${t.storage} *restrict src, const long so, const long sn, const long sg, const long sc, const long sh, const long sw,
  const int height, const int width, const int channels, const int gh, const int gw, const int strideh, const int stridew,
  const int taph, const int tapw, const int dy0, const int dyh, const int dx0, const int dxw, const int groups, const int tileh, const int tilew\
</%def>

## The tile of outputs that work-item get_global_id(0) of an image owns, and the shape of its window.
<%def name="tile(index)">
  const int across = (gw + tilew - 1) / tilew, ty = (${index}) / across * tileh, tx = (${index}) % across * tilew;
  const int th = min(tileh, gh - ty), tw = min(tilew, gw - tx);
</%def>

<%def name="window()">
  const int lowy = min(dy0, dy0 + (taph - 1) * dyh), lowx = min(dx0, dx0 + (tapw - 1) * dxw);
  const int spany = (taph - 1) * (dyh < 0 ? -dyh : dyh), spanx = (tapw - 1) * (dxw < 0 ? -dxw : dxw);
  const int py = min(strideh, spany + 1), px = min(stridew, spanx + 1);
</%def>

<%def name="shape()">
  const int pitch = tw + spanx / stridew, plane = (th + spany / strideh) * pitch, channel = py * px * plane;
</%def>

## Where tap (ky, kx) of output 0 lies in a channel's window.
<%def name="tap(ky, kx)">
  const int ey = dy0 + ${ky} * dyh - lowy, ex = dx0 + ${kx} * dxw - lowx;
  const int at = (ey % strideh * px + ex % stridew) * plane + ey / strideh * pitch + ex / stridew;
</%def>

## Copies ``count`` channels from ``image`` on into ``stage``.
<%def name="fill(t, image, count)">
  for (int c = 0; c < ${count}; c++)
    for (int a = 0; a < py; a++)
      for (int b = 0; b < px; b++) {
        E *row = stage + c * channel + (a * px + b) * plane;
        for (int r = 0; r < th + spany / strideh; r++, row += pitch) {
          const int y = (ty + r) * strideh + lowy + a, x0 = tx * stridew + lowx + b;
          const int first = x0 >= 0 ? 0 : min((-x0 + stridew - 1) / stridew, pitch);
          const int last = y < 0 || y >= height || x0 >= width ? 0 : min((width - x0 + stridew - 1) / stridew, pitch);
          __global const ${t.storage} *const p = ${image} + c * sc + y * sh + x0 * sw;
          for (int x = 0; x < min(first, pitch); x++) row[x] = 0;
          if (stridew == 1 && sw == 1)
            for (int x = first; x < last; x++) row[x] = ${t.load("p", "x")};
          else
            for (int x = first; x < last; x++) row[x] = ${t.load("p", "x * stridew * sw")};
          for (int x = max(first, last); x < pitch; x++) row[x] = 0;
        }
      }
</%def>
