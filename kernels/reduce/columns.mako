<%doc>
Many outputs side by side, `columns` of them `cs` apart in memory (unit: densely), each reducing `count` rows: sums over the first
dims, or a middle dim of (outer, count, columns). Tasks: outer * tiles * splits; slice t % splits of tile t / splits % tiles,
which is ``across`` accumulators (wide, at most TILE) or work-items (grid, a power of two) side by side.

kept      rank of the outer kept dims (kn, ks, ko); reduced: rank of the reduced dims (rn, rs); co: the result's stride over columns
merged    where rows follow each other without a gap and are short, so many of them count as one row (wide; reduced 1); else 1
wide      a work-item keeps a tile's accumulators and adds row by row; every 64 rows are joined, and every 64 of those, so that errors
          hardly grow with `count`
grid      WG / across rows at a time, then a tree in local memory
See accumulator.mako for what is carried. Called by ops/reduce_plan.py.
</%doc>
<%! TUNABLES = dict(TILE=(1024, 1024, (128, 256, 512, 1024, 2048)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%! from cltorch.codegen.expression import translate %>
<%namespace name="on" file="accumulator.mako"/>
<%
  step = "" if unit else " * cs"
  fields = dict(value="a", pair="ai", moments="mq")[kind]
  types = dict(a=acc.c, i="uint", m=acc.c, q=acc.c)
  levels = 1 if kind == "pair" else 3
  shifted = " - shift" if kind == "moments" else ""
%>
${dtype.definition('data')}
${on.declare()}

<%def name="clear(level)">
% if kind == "value":
      for (uint l = 0; l < width; l++) a${level}[l] = ${on.start()};
% elif kind == "pair":
      for (uint l = 0; l < width; l++) { a${level}[l] = ${on.start()}; i${level}[l] = 0xffffffffu; }
% else:
      for (uint l = 0; l < width; l++) m${level}[l] = q${level}[l] = 0;
      n${level} = 0;
% endif
</%def>

## level + 1 takes in level
<%def name="lift(level)">
% if kind == "value":
for (uint l = 0; l < width; l++) { const ${acc.c} a = a${level + 1}[l], b = a${level}[l]; a${level + 1}[l] = ${translate(combine, acc)}; }
% elif kind == "moments":
if (n${level} > 0) {
          const ${acc.c} n = n${level + 1} + n${level}, share = n${level} / n, weight = n${level + 1} * share;
          for (uint l = 0; l < width; l++) {
            const ${acc.c} delta = m${level}[l] - m${level + 1}[l];
            m${level + 1}[l] += delta * share;
            q${level + 1}[l] += q${level}[l] + delta * delta * weight;
          }
          n${level + 1} = n;
        }
% endif
${clear(level)}
</%def>

## ``rows`` rows that follow each other go into the accumulators, in their order.
<%def name="take(rows)">
for (uint l = 0; l < width; l++) {
          ${acc.c} sum = a0[l];
% for i in range(rows):
          { ${on.element("b", f"from + {i} * pitch + l{step}" if i else f"from + l{step}")} const ${acc.c} a = sum; sum = ${translate(combine, acc)}; }
% endfor
          a0[l] = sum;
        }
</%def>

<%def name="lane(l)"><%
  names = [f"{f}{levels - 1}[{l}]" for f in (reversed(fields) if kind == "pair" else fields)] + (["n2"] if kind == "moments" else [])
  return f"((acc_t){{{', '.join(names)}}})"
%></%def>

__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void columns(${dtype.parameters('data')}, ${on.results()}, const uint offset, const uint outer, const uint tiles,
             const uint splits, const uint count, const uint columns, const uint cs, const uint co, const uint across,
             const uint merged${on.dims("k", kept, True)}${on.dims("r", reduced, False)}${on.numbers()})
{
  const uint tasks = outer * tiles * splits;
% if wide:
  const uint steps = count / merged, per = (steps + splits - 1) / splits;
  const uint share = tasks / get_num_groups(0), extra = tasks % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
%   for level in range(levels):
%     for f in fields:
  ${types[f]} ${f}${level}[${TILE}];
%     endfor
%     if kind == "moments":
  ${acc.c} n${level};
%     endif
%   endfor
%   if kind == "moments":
  ${acc.c} shifts[${TILE}];
%   endif
  for (uint task = start; task < stop; task++) {
    const uint s = task % splits, tile = task / splits % tiles, o = task / splits / tiles;
    const uint c0 = tile * across, width = min(columns * merged - c0, across);
    uint base = offset + c0${step}, place = c0 * co;
    ${on.unravel("o", "k", kept, "base", "place")}
    const uint lo = s * per, hi = min(steps, lo + per);
%   if kind == "moments":
    for (uint l = 0; l < width; l++) { ${on.element("v", f"base + l % columns{step}")} shifts[l] = v; }
%   endif
%   for level in range(levels):
    ${clear(level)}
%   endfor
    for (uint row = lo; row < hi; row++) {
      uint from = base;
%   if reduced == 1:
      from += row * merged * rs0;
%   else:
      ${on.unravel("(row * merged)", "r", reduced, "from")}
%   endif
%   if kind == "value" and reduced == 1 and not dtype.chained:
## Four rows at a time, in their order: memory delivers four streams faster than one, and the accumulators are read and written once for all of them.
      if (hi - row >= 4) {
        const uint pitch = merged * rs0;
        ${take(4)}
        row += 3;
      } else
%   endif
%   if kind == "value":
      ${take(1)}
%   elif kind == "pair":
      for (uint l = 0; l < width; l++) {
        ${on.element("v", f"from + l{step}")}
        const int take = replaces(a0[l], v) | (i0[l] == 0xffffffffu);
        a0[l] = take ? v : a0[l];
        i0[l] = take ? row : i0[l];
      }
%   else:
      n0 += 1;
      const ${acc.c} share = 1 / n0;
      for (uint l = 0; l < width; l++) {
        ${on.element("v", f"from + l{step}")}
        const ${acc.c} d = v - shifts[l], delta = d - m0[l];
        m0[l] += delta * share;
        q0[l] += delta * (d - m0[l]);
      }
%   endif
%   if levels == 3:
      if (((row - lo) & 63) == 63 || row + 1 == hi) {
        ${lift(0)}
        if (((row - lo) & 4095) == 4095 || row + 1 == hi) {
          ${lift(1)}
        }
      }
%   endif
    }
    const uint side = min(columns, width);
    for (uint c = 0; c < side; c++) {
      acc_t r = ${lane("c")};
%   if kind == "moments":
      const ${acc.c} shift = shifts[c];
%   endif
%   if kind == "pair":
      r.i *= merged;
%   endif
      for (uint l = c + columns, k = 1; l < width && merged > 1; l += columns, k++) {
        acc_t other = ${lane("l")};
%   if kind == "pair":
        other.i = other.i * merged + k;
%   endif
        r = acc_merge(r, other);
      }
      if (s == splits - 1)
        for (uint row = steps * merged; row < count; row++) {
          ${on.element("v", f"base + row * rs{reduced - 1} + c{step}")}
          r = acc_add(r, v${shifted}, row);
        }
      const uint to = place + c * co, slot = (o * columns + c0 + c) * splits + s;
      ${on.write("r", "to", "slot", "count")}
    }
  }
% else:
  const uint per = (count + splits - 1) / splits;
  __local acc_t lds[${WG}];
  const uint lid = get_local_id(0), side = lid & (across - 1), below = lid / across, deep = ${WG} / across;
  for (uint task = get_group_id(0); task < tasks; task += get_num_groups(0)) {
    const uint s = task % splits, tile = task / splits % tiles, o = task / splits / tiles;
    const uint c = tile * across + side, lo = s * per, hi = c < columns ? min(count, lo + per) : 0;
    uint base = offset + c${step}, place = c * co;
    ${on.unravel("o", "k", kept, "base", "place")}
    ${on.shift("base", "lo < hi")}
    acc_t r = acc_none();
    for (uint at = lo + below; at < hi;) {
      acc_t near = acc_none();
      for (uint k = 0; k < 64 && at < hi; k++, at += deep) {
        uint from = base;
        ${on.unravel("at", "r", reduced, "from")}
        ${on.element("v", "from")}
        near = acc_add(near, v${shifted}, at);
      }
      r = acc_merge(r, near);
    }
    ${on.tree("deep", "across", "below")}
    r = lds[lid];
    if (below == 0 && c < columns) {
      const uint slot = (o * columns + c) * splits + s;
      ${on.write("r", "place", "slot", "count")}
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
% endif
}
