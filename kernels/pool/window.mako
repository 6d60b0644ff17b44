<%doc>
Pooling over windows of planes (rows x columns), any number of planes. Window o of a dim starts at o * stride - pad and takes every
dilation-th of `size` elements; with adaptive it runs from floor(o * n / outputs) to ceil((o + 1) * n / outputs).

maximum         out, where (flat index in the plane; the first of equal ones; NaN wins)      over x
maximum_back    out[place] = sum of g of the windows whose `where` is the place: a gather, no atomics
average         out = sum / divisor; divisor: the given one, else the window's size with (include_pad) or without the padding
average_back    out[place] = sum of g / divisor of the windows that hold the place
A work-item takes whole rows of the result (wide) or single elements (grid). In wide, windows of one size are walked place by place, each for 64
windows of a row in one plain loop. Backward in wide, where sums are kept in the result's own type, a work-item owns
whole planes and adds each window's share where it belongs, in the windows' order: nobody else writes there. Called by ops/pooling.py.
</%doc>
<%def name="start_of(d, o)"><%
  return f"(int)((ulong){o} * (uint){d}n / (uint){d}o)" if adaptive else f"{o} * {d}s - {d}p"
%></%def>
<%def name="end_of(d, o)"><%
  return f"(int)((((ulong){o} + 1) * (uint){d}n + (uint){d}o - 1) / (uint){d}o)" if adaptive else f"{o} * {d}s - {d}p + ({d}k - 1) * {d}d + 1"
%></%def>
## the window of output (oh, ow): h0 h1 w0 w1 inside the plane, on the window's grid
<%def name="window()">
% for d in "hw":
      int ${d}0 = ${start_of(d, "o" + d)};
      const int ${d}e = ${end_of(d, "o" + d)};
      const int ${d}1 = ${d}e < ${d}n ? ${d}e : ${d}n;
      const int ${d}first = ${d}0;
      if (${d}0 < 0) ${d}0 += (-${d}0 + ${d}d - 1) / ${d}d * ${d}d;
% endfor
</%def>
<%def name="divisor()">
% if adaptive:
      const ${dtype.c} share = (${dtype.c})((h1 - h0) * (w1 - w0));
% else:
      const int hlast = he < hn + hp ? he : hn + hp, wlast = we < wn + wp ? we : wn + wp;
      const int counted = include_pad ? (hlast - hfirst) * (wlast - wfirst) : (h1 - h0) * (w1 - w0);
      const ${dtype.c} share = (${dtype.c})(divisor ? divisor : counted);
% endif
</%def>
## outputs of one dim that may hold place x: from first to last, both included
<%def name="covering(d, x)">
% if adaptive:
      const int ${d}from = (int)((ulong)${x} * (uint)${d}o / (uint)${d}n), ${d}to = (int)((((ulong)${x} + 1) * (uint)${d}o - 1) / (uint)${d}n);
% else:
      const int ${d}reach = ${x} + ${d}p - (${d}k - 1) * ${d}d;
      const int ${d}from = ${d}reach <= 0 ? 0 : (${d}reach + ${d}s - 1) / ${d}s;
      const int ${d}high = (${x} + ${d}p) / ${d}s, ${d}to = ${d}high < ${d}o ? ${d}high : ${d}o - 1;
% endif
</%def>
<%
  back = what.endswith("back")
  rows, columns = ("hn", "wn") if back else ("ho", "wo")
  spread, sliding = wide and back and not dtype.is_half, wide and not back and not adaptive
  acc = dtype if what == "maximum" else dtype.acc
%>
## sliding: the element at place `at` + c * step of the plane joins window c
<%def name="join(step)">
            for (int c = cfrom; c < cto; c++) {
              const ${dtype.c} v = ${dtype.load("from", f"at + c * {step}")};
% if what == "maximum":
              const int take = (v > best[c]) | ((v != v) & (best[c] == best[c])) | (place[c] < 0);  // no branch: which wins can't be predicted
              best[c] = take ? v : best[c];
              place[c] = take ? at + c * ${step} : place[c];
% else:
              best[c] += v;
% endif
            }
</%def>
<%def name="slide()">
    const int oh = r;
    __global const ${dtype.storage} *restrict from = x + x0 + plane * (uint)(hn * wn);
    for (int first = 0; first < wo; first += 64) {
      const int width = wo - first < 64 ? wo - first : 64;
      ${acc.c} best[64];
% if what == "maximum":
      int place[64];
% endif
      for (int c = 0; c < width; c++) {
        best[c] = ${acc.lowest if what == "maximum" else acc.zero};
% if what == "maximum":
        place[c] = -1;
% endif
      }
      for (int kh = 0; kh < hk; kh++) {
        const int h = oh * hs - hp + kh * hd;
        if (h < 0 || h >= hn) continue;
        for (int kw = 0; kw < wk; kw++) {
          const int w = first * ws - wp + kw * wd, at = h * wn + w;  // of the first window; the others' places lie inside from cfrom to cto
          const int cfrom = w < 0 ? (ws - 1 - w) / ws : 0, most = w < wn ? (wn - 1 - w) / ws + 1 : 0, cto = most < width ? most : width;
          if (ws == 1) {
            ${join("1")}
          } else if (ws == 2) {
            ${join("2")}
          } else {
            ${join("ws")}
          }
        }
      }
      const uint i = row * (uint)wo + (uint)first;
      for (int c = 0; c < width; c++) {
% if what == "maximum":
        ${dtype.store("out", "i + c", "best[c]")};
        where[i + c] = place[c] < 0 ? 0 : place[c];  // a window of large dilation may have no element
% else:
        const int ow = first + c;
${window()}
        ${divisor()}
        ${dtype.store("out", "i + c", "best[c] / share")};
% endif
      }
    }
</%def>
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void ${what}(__global ${dtype.storage} *restrict out,
% if what == "maximum":
              __global long *restrict where, __global const ${dtype.storage} *restrict x, const uint x0,
% elif what == "maximum_back":
              __global const ${dtype.storage} *restrict g, const uint g0, __global const long *restrict where, const uint w0_,
% else:
              __global const ${dtype.storage} *restrict x, const uint x0,
% endif
              const uint planes,
% for d in "hw":
              const int ${d}n, const int ${d}o, const int ${d}k, const int ${d}s, const int ${d}p, const int ${d}d,
% endfor
              const int include_pad, const int divisor)
{
% if spread:
  const uint per = (planes + get_num_groups(0) - 1) / get_num_groups(0);
  const uint lo = get_group_id(0) * per, hi = lo + per < planes ? lo + per : planes, size = (uint)(hn * wn);
  for (uint plane = lo; plane < hi; plane++) {
    __global ${dtype.storage} *const to = out + plane * size;
    for (uint i = 0; i < size; i++) to[i] = 0;
    for (int oh = 0; oh < ho; oh++)
    for (int ow = 0; ow < wo; ow++) {
      const uint o = plane * (uint)(ho * wo) + (uint)(oh * wo + ow);
% if what == "maximum_back":
      to[where[w0_ + o]] += g[g0 + o];
% else:
${window()}
      ${divisor()}
      const ${dtype.c} v = ${dtype.load("x", "x0 + o")} / share;
      for (int h = h0; h < h1; h++)
        for (int w = w0; w < w1; w++) to[h * wn + w] += v;
% endif
    }
  }
}
% else:
% if wide:
  const uint total = planes * (uint)${rows}, per = (total + get_num_groups(0) - 1) / get_num_groups(0);
  const uint lo = get_group_id(0) * per, hi = lo + per < total ? lo + per : total;
  for (uint row = lo; row < hi; row++) {
    const uint plane = row / (uint)${rows};
    const int r = (int)(row - plane * (uint)${rows});
% if sliding:
${slide()}
% else:
    for (int c = 0; c < ${columns}; c++) {
% endif
% else:
  const uint total = planes * (uint)${rows} * (uint)${columns};
  for (uint at = get_global_id(0); at < total; at += get_global_size(0)) {
    const uint row = at / (uint)${columns}, plane = row / (uint)${rows};
    const int c = (int)(at - row * (uint)${columns}), r = (int)(row - plane * (uint)${rows});
    {
% endif
% if not sliding:
      const uint i = row * (uint)${columns} + (uint)c;
% if not back:
      const int oh = r, ow = c;
${window()}
      const uint base = x0 + plane * (uint)(hn * wn);
% endif
% if what == "maximum":
      ${dtype.c} best = ${dtype.load("x", "base + (uint)(h0 * wn + w0)")};
      int place = h0 * wn + w0;
      for (int h = h0; h < h1; h += hd)
        for (int w = w0; w < w1; w += wd) {
          const ${dtype.c} v = ${dtype.load("x", "base + (uint)(h * wn + w)")};
          const int take = (v > best) | ((v != v) & (best == best));  // no branch: which element wins can't be predicted
          best = take ? v : best;
          place = take ? h * wn + w : place;
        }
      ${dtype.store("out", "i", "best")};
      where[i] = place;
% elif what == "average":
      ${divisor()}
      ${dtype.acc.c} sum = ${dtype.acc.zero};
      for (int h = h0; h < h1; h++)
        for (int w = w0; w < w1; w++) sum += ${dtype.load("x", "base + (uint)(h * wn + w)")};
      ${dtype.store("out", "i", "sum / share")};
% else:
${covering("h", "r")}
${covering("w", "c")}
      ${dtype.acc.c} sum = ${dtype.acc.zero};
      for (int oh = hfrom; oh <= hto; oh++)
        for (int ow = wfrom; ow <= wto; ow++) {
          const uint o = plane * (uint)(ho * wo) + (uint)(oh * wo + ow);
%   if what == "maximum_back":
          if (where[w0_ + o] == r * wn + c) sum += ${dtype.load("g", "g0 + o")};
%   else:
${window()}
          ${divisor()}
          sum += ${dtype.load("x", "x0 + o")} / share;
%   endif
        }
      ${dtype.store("out", "i", "sum")};
% endif
    }
% endif
  }
}
% endif
