<%doc>
c[z] = alpha * a[z] @ b[z] + beta * d[z] for products too small to be worth packing (strategy wide): any strides, every
type, one launch.

Arguments as in panel.mako; ak, bk: strides along k. A work-item owns ``rows`` of the batch * m rows of c and sums VW
columns at a time.
Called by ops/gemm.py. TUNABLES: VW columns summed together.
</%doc>
<%namespace name="tile" file="tile.mako"/>
<%!
TUNABLES = dict(VW=(8, 8, (2, 4, 8, 16)))
%>
<%
planes = len(tile.module.planes(dtype))
%>
<%def name="sums(columns, step)">
      for (long i = 0; i < k; i++, x += ak, y += bk) {
        const ${dtype.c} u = ${dtype.load("x", "0")};
        for (int j = 0; j < ${columns}; j++) {
% if dtype.is_complex:
          const ${dtype.c} v = y[j * ${step}];
          s[j] += u.x * v.x; s[j] -= u.y * v.y; s[j + ${VW}] += u.x * v.y; s[j + ${VW}] += u.y * v.x;
% else:
          s[j] += (E)u * (E)${dtype.load("y", f"j * {step}")};
% endif
        }
      }
</%def>
typedef ${tile.module.lane(dtype)} E;
${out.definition("c")}
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void small(
  __global const ${dtype.storage} *restrict a, const long ao, const long ar, const long ak, const long as0, const long as1,
  __global const ${dtype.storage} *restrict b, const long bo, const long bk, const long bc, const long bs0, const long bs1,
  ${tile.target(dtype)}, const int batch, const int rows)
{
  const ${dtype.c} alpha = ${dtype.compute.scalar_value("alpha_")}, beta = ${dtype.compute.scalar_value("beta_")};
  const long r1 = min(((long)get_global_id(0) + 1) * rows, (long)batch * m);
  for (long r = get_global_id(0) * (long)rows; r < r1; r++) {
    const long row = r % m, z = r / m, z0 = z / inner, z1 = z % inner;
    for (int column = 0; column < n; column += ${VW}) {
      E s[${VW * planes}];
      for (int j = 0; j < ${VW * planes}; j++) s[j] = 0;
      __global const ${dtype.storage} *x = a + ao + z0 * as0 + z1 * as1 + row * ar;
      __global const ${dtype.storage} *y = b + bo + z0 * bs0 + z1 * bs1 + column * bc;
      const int columns = min(${VW}, n - column);
      if (columns == ${VW} && bc == 1) {
        ${sums(VW, "1")}
      } else {
        ${sums("columns", "bc")}
      }
      const long place = to + z0 * cs0 + z1 * cs1 + row * cr + column * cc;
      __global const ${dtype.storage} *const add = d + from + z0 * ds0 + z1 * ds1 + row * dr + column * dc;
      const int i = 0;
      ${tile.finish(dtype, VW)}
    }
  }
}
