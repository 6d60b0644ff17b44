<%doc>
c[z] = alpha * a[z] @ b[z] + beta * d[z] where rows of a and columns of b are contiguous (strategy wide): matrix-vector
products, a linear layer's forward pass of a few rows.

Arguments as in panel.mako; a has k stride 1, and so has b, whose columns are bc apart. A work-item owns ``rows`` rows
by ``columns`` columns. Lanes run along k and are added up at the end, in a fixed order. ``way`` is the kernel's name: dot_tile
takes tiles of R by C, dot_vector of 8 by 1.
Called by ops/gemm.py. TUNABLES: VW lanes of a sum; R * C + R + C vector registers.
</%doc>
<%namespace name="tile" file="tile.mako"/>
<%!
TUNABLES = dict(VW=(8, 8, (2, 4, 8, 16)), R=(4, 4, (2, 3, 4, 5)), C=(4, 4, (1, 2, 3, 4, 5)))


def vector(t, lane, pointer, VW):
    """(plane, text) of VW elements from ``pointer + i`` on as sums' lanes."""
    if t.is_complex:
        return [(p, f"(V)({', '.join(f'{pointer}[i + {n}].{p}' for n in range(VW))})") for p in "xy"]
    if lane == t.storage or t.s in ("i32", "i64"):
        return [("", f"*(__global const VU *)({pointer} + i)")]
    return [("", f"(V)({', '.join('(E)' + t.load(pointer, f'i + {n}') for n in range(VW))})")]


def multiply(t, s, u, v):
    """Statements that add the product of two elements (or vectors of them, planes apart) to a sum."""
    if t.is_complex:
        return f"{s}x += {u}x * {v}x; {s}x -= {u}y * {v}y; {s}y += {u}x * {v}y; {s}y += {u}y * {v}x;"
    return f"{s} += {u} * {v};"
%>
<%
lane = tile.module.lane(dtype)
parts = ("x", "y") if dtype.is_complex else ("",)
%>
${tile.types(dtype, VW)}
${out.definition("c")}
<%def name="product(kname, R, C)">
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void ${kname}(
  __global const ${dtype.storage} *restrict a, const long ao, const long ar, const long as0, const long as1,
  __global const ${dtype.storage} *restrict b, const long bo, const long bc, const long bs0, const long bs1,
  ${tile.target(dtype)}, const int rows, const int columns)
{
  ${tile.locals(dtype)}
  const int j1 = min(((int)get_global_id(0) + 1) * columns, n), r1 = min(((int)get_global_id(1) + 1) * rows, m);
  for (int j0 = get_global_id(0) * columns; j0 < j1; j0 += ${C}) {
% for q in range(C):
    __global const ${dtype.storage} *const y${q} = b + bo + z0 * bs0 + z1 * bs1 + min(j0 + ${q}, n - 1) * bc;
% endfor
    for (int r0 = get_global_id(1) * rows; r0 < r1; r0 += ${R}) {
% for p in range(R):
      __global const ${dtype.storage} *const x${p} = a + ao + z0 * as0 + z1 * as1 + min(r0 + ${p}, m - 1) * ar;
% endfor
% for p in range(R):
      V ${", ".join(f"s{p}_{q}{part} = 0" for q in range(C) for part in parts)};
% endfor
      long i = 0;
      for (; i <= k - ${VW}; i += ${VW}) {
% for name, ends in (("x", R), ("y", C)):
% for p in range(ends):
% for part, text in vector(dtype, lane, f"{name}{p}", VW):
        const V ${"u" if name == "x" else "v"}${p}${part} = ${text};
% endfor
% endfor
% endfor
% for p in range(R):
        ${" ".join(multiply(dtype, f"s{p}_{q}", f"u{p}", f"v{q}") for q in range(C))}
% endfor
      }
% for p in range(R):
% for q in range(C):
      if (r0 + ${p} < r1 && j0 + ${q} < j1) {
        E ${", ".join(f"s{part} = {tile.module.total(f's{p}_{q}{part}', VW)}" for part in parts)};
        for (long h = i; h < k; h++) {
% if dtype.is_complex:
          const ${dtype.c} u = x${p}[h], v = y${q}[h];
          sx += u.x * v.x; sx -= u.y * v.y; sy += u.x * v.y; sy += u.y * v.x;
% else:
          s += (E)${dtype.load(f"x{p}", "h")} * (E)${dtype.load(f"y{q}", "h")};
% endif
        }
        ${dtype.c} v = ${f"({dtype.c})(sx, sy)" if dtype.is_complex else tile.module.finished(dtype, "s")};
        ${tile.scale(dtype, "d", f"from + z0 * ds0 + z1 * ds1 + (r0 + {p}) * dr + (j0 + {q}) * dc")}
        ${out.store("c", f"to + z0 * cs0 + z1 * cs1 + (r0 + {p}) * cr + (j0 + {q}) * cc", "v")};
      }
% endfor
% endfor
    }
  }
}
</%def>
${product("dot_tile", R, C) if way == "dot_tile" else product("dot_vector", 8, 1)}
