<%doc>
Register tiles of a matrix product, shared by the templates of matmul/ and conv/: only defs, no kernel.

A tile is MR rows by NR = NV * VW columns of sums in explicit vectors of VW lanes: real types in c<row>_<vector>,
complex types in two planes, c<row>_<vector>_re and _im. Integers are summed as unsigned (they wrap as their own type
does), halves as floats.
</%doc>
<%!
def lane(t):
    """The C type of one lane of a sum."""
    if t.is_complex:
        return t.real.c
    return t.c if t.is_float else "ulong" if t.s == "i64" else "uint"


def planes(t):
    return ("_re", "_im") if t.is_complex else ("",)


def cells(t, MR, NV):
    """(row, vector, plane) of each vector of a tile: row by row, plane by plane."""
    return [(i, j, p) for i in range(MR) for p in planes(t) for j in range(NV)]


def zero(t):
    return "0" if not (t.is_float or t.is_complex) else t.real.zero


def finished(t, value):
    """A sum in the arithmetic form of ``t``."""
    return value if t.is_float or t.is_complex else f"({t.c})({value})"


def side(VW):
    """Rows of a square that is turned in registers: one of 16 takes the compiler three times as long as one of 8, and saves 2 % of a product at most."""
    return min(8, VW)


def total(name, VW):
    """The lanes of a vector added up as a tree."""
    parts = [f"{name}.s{n:x}" for n in range(VW)]
    while len(parts) > 1:
        parts = [f"({a} + {b})" for a, b in zip(parts[::2], parts[1::2])]
    return parts[0]
%>
## V: a vector as it lies aligned; VU: the same read from or written to any element's address. W and WU: those of a square that is turned.
<%def name="types(t, VW)">
typedef ${lane(t)} E;
typedef ${lane(t)}${VW} V;
typedef ${lane(t)}${VW} VU __attribute__((aligned(sizeof(${lane(t)}))));
typedef ${lane(t)}${side(VW)} W;
typedef ${lane(t)}${side(VW)} WU __attribute__((aligned(sizeof(${lane(t)}))));
<% n = side(VW) %>
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define LOWS(to, a, b) const W to = __builtin_shufflevector(a, b, ${", ".join(f"{k}, {n + k}" for k in range(n // 2))});
#define HIGHS(to, a, b) const W to = __builtin_shufflevector(a, b, ${", ".join(f"{k}, {n + k}" for k in range(n // 2, n))});
#endif
#endif
#ifndef LOWS
#define LOWS(to, a, b) W to; to.even = a.lo; to.odd = b.lo;
#define HIGHS(to, a, b) W to; to.even = a.hi; to.odd = b.hi;
#endif
</%def>

## A square of ``side`` by side elements is turned: row(i) reads a row of it, column(i) is where a column goes. Each turn interleaves the first half of the
## vectors with the second, which is a shuffle a vector.
<%def name="turn(side, row, column)">
<% turns = side.bit_length() - 1 %>
% for i in range(side):
const W u0_${i} = ${row(i)};
% endfor
% for turn in range(turns):
% for i in range(side):
${"HIGHS" if i % 2 else "LOWS"}(u${turn + 1}_${i}, u${turn}_${i // 2}, u${turn}_${i // 2 + side // 2})
% endfor
% endfor
% for i in range(side):
${column(i)} = u${turns}_${i};
% endfor
</%def>

<%def name="declare(t, MR, NV)">
% for i, j, p in cells(t, MR, NV):
V c${i}_${j}${p} = (V)(${zero(t)});
% endfor
</%def>

## One step along k. a(i, plane), b(j, plane): the texts that read row i's value and column vector j.
<%def name="step(t, MR, NV, a, b)">
% for j in range(NV):
% for p in planes(t):
const V b${j}${p} = ${b(j, p)};
% endfor
% endfor
% for i in range(MR):
% if t.is_complex:
{ const V are = (V)(${a(i, "_re")}), aim = (V)(${a(i, "_im")});
% for j in range(NV):
  c${i}_${j}_re += are * b${j}_re; c${i}_${j}_re -= aim * b${j}_im; c${i}_${j}_im += are * b${j}_im; c${i}_${j}_im += aim * b${j}_re;
% endfor
}
% else:
{ const V av = (V)(${a(i, "")});
% for j in range(NV):
  c${i}_${j} += av * b${j};
% endfor
}
% endif
% endfor
</%def>

## A private array of V that holds sums is added to the tile's, and the tile's sums are put into it. at(row, vector): the index; without it row
## i, plane p, vector j lie at ((i * planes) + p) * NV + j.
<%def name="add(t, MR, NV, array, at=None)">
% for n, (i, j, p) in enumerate(cells(t, MR, NV)):
c${i}_${j}${p} += ${array}[${at(i, j) if at else n}];
% endfor
</%def>

<%def name="put(t, MR, NV, array, at=None)">
% for n, (i, j, p) in enumerate(cells(t, MR, NV)):
${array}[${at(i, j) if at else n}] = c${i}_${j}${p};
% endfor
</%def>

## A whole tile of contiguous rows goes out as it is, or with beta times d's rows; through ``array`` where a chain goes on from it.
<%def name="write(t, MR, NV, array)">
if (scaled) {
% for i in range(MR):
  { __global const VU *const more = (__global const VU *)(add + ${i} * dr); ${" ".join(f"c{i}_{j} = (V)(beta) * more[{j}] + c{i}_{j};" for j in range(NV))} }
% endfor
}
% if out.chained:
${put(t, MR, NV, array)}
for (int i = 0; i < ${MR}; i++) {
  const E *const s = (const E *)(${array} + i * ${NV});
  const long line = place + i * cr;
#pragma clang loop vectorize_width(${VW}) interleave_count(${NV})
  for (int j = 0; j < ${NV * VW}; j++) ${out.store("c", "line + j", finished(t, "s[j]"))};
}
% else:
% for i in range(MR):
{ __global VU *const line = (__global VU *)(c + place + ${i} * cr); ${" ".join(f"line[{j}] = c{i}_{j};" for j in range(NV))} }
% endfor
% endif
</%def>

## Row i of a finished tile goes out through its strides, from element ``place`` on: scaled & 1: times alpha; scaled & 2: plus beta times the
## element of d.
<%def name="finish(t, NR)">
for (int j = 0; j < columns; j++) {
  ${t.c} v = ${finished(t, "s[j]") if not t.is_complex else f"({t.c})(s[j], s[j + {NR}])"};
  ${scale(t, "add", "i * dr + j * dc")}
  ${out.store("c", "place + i * cr + j * cc", "v")};
}
</%def>

<%def name="scale(t, pointer, index)">
if (scaled & 1) v = mul_${t.s}(alpha, v);
if (scaled & 2) v = mad_${t.s}(beta, ${t.load(pointer, index)}, v);
</%def>

## Parameters that every product kernel ends with, and what they mean inside: alpha, beta, z0, z1. out: the results' type, t or one that a chain goes
## on from (codegen/fusion.py: Continued).
<%def name="target(t)">
  __global const ${t.storage} *d, const long from, const long dr, const long dc, const long ds0, const long ds1,
  ${out.results("c")}, const long to, const long cr, const long cc, const long cs0, const long cs1,
  const int m, const int n, const int k, const int inner,
  ${", ".join(t.compute.scalar_parameters("alpha_") + t.compute.scalar_parameters("beta_"))}, const int scaled\
</%def>

<%def name="locals(t)">
  const ${t.c} alpha = ${t.compute.scalar_value("alpha_")}, beta = ${t.compute.scalar_value("beta_")};
  const long z0 = get_global_id(2) / inner, z1 = get_global_id(2) % inner;
</%def>
