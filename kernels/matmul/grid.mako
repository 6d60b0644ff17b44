<%doc>
c[z] = alpha * a[z] @ b[z] + beta * d[z] on devices with many small work-items (strategy grid); see block.mako.

way       grid: all of it. grid_part: the sums over a part of k, ``deep`` of it, where c has too few tiles for all compute units; get_global_id(2) counts
          z * parts + part, as partial does: (batches, parts, m, n). grid_fold: adds the parts up in their order, an item an element, and writes c

Arguments as in panel.mako, with both strides of a and b: any layout, every type. Edges are zeros in local memory.
Called by ops/gemm.py. TUNABLES: TM by TN sums a work-group, RM by RN an item (TM / RM * TN / RN items), TK deep slices in local memory; LOCAL 0: none,
what is multiplied comes from the caches.
</%doc>
<%namespace name="tile" file="tile.mako"/>
<%namespace name="block" file="block.mako"/>
<%!
TUNABLES = dict(
    TM=(64, 64, (8, 16, 32, 64, 96, 128)),
    TN=(64, 64, (8, 16, 32, 64, 96, 128)),
    TK=(16, 16, (4, 8, 16, 32)),
    RM=(4, 4, (1, 2, 4, 6, 8)),
    RN=(4, 4, (1, 2, 4, 6, 8)),
    LOCAL=(1, 1, (0, 1)),
)
CONSTRAINTS = ("TM % RM == 0 and TN % RN == 0", "TM // RM * (TN // RN) <= work_group", "not LOCAL or TK * (TM + TN + 2) * 4 <= local_bytes", "RM * RN <= 64")
%>
<%
T = dtype.c
a_at = lambda i, h: dtype.load("pa", f"{i} * ar + {h} * ak")
b_at = lambda j, h: dtype.load("pb", f"{h} * bk + {j} * bc")
%>
% if way != "grid_part":
${out.definition("c")}
% endif
% if way == "grid_fold":
__kernel void grid_fold(__global const ${T} *restrict partial, const int parts, ${tile.target(dtype)})
{
  ${tile.locals(dtype)}
  const int column = get_global_id(0), row = get_global_id(1);
  if (column >= n) return;
  const long each = (long)m * n;
  __global const ${T} *const sums = partial + get_global_id(2) * parts * each + (long)row * n + column;
  ${T} v = sums[0];
  for (int part = 1; part < parts; part++) v += sums[part * each];
  ${tile.scale(dtype, "d", "from + z0 * ds0 + z1 * ds1 + row * dr + column * dc")}
  ${out.store("c", "to + z0 * cs0 + z1 * cs1 + row * cr + column * cc", "v")};
}
% else:
__kernel __attribute__((reqd_work_group_size(${TN // RN}, ${TM // RM}, 1)))
void ${way}(
  __global const ${dtype.storage} *restrict a, const long ao, const long ar, const long ak, const long as0, const long as1,
  __global const ${dtype.storage} *restrict b, const long bo, const long bk, const long bc, const long bs0, const long bs1,
% if way == "grid_part":
  __global ${T} *restrict partial, const int parts, const int deep, const int m, const int n, const int k, const int inner)
{
  const int part = get_global_id(2) % parts, count = min(deep, k - part * deep);
  const long z0 = get_global_id(2) / parts / inner, z1 = get_global_id(2) / parts % inner, first = (long)part * deep;
% else:
  ${tile.target(dtype)})
{
  ${tile.locals(dtype)}
  const int count = k, first = 0;
% endif
  __global const ${dtype.storage} *const pa = a + ao + z0 * as0 + z1 * as1 + first * ak;
  __global const ${dtype.storage} *const pb = b + bo + z0 * bs0 + z1 * bs1 + first * bk;
% if LOCAL:
  ${block.sums(dtype, TM, TN, TK, RM, RN, "count",
               lambda i, h: f"{i} < m && {h} < count ? {a_at(i, h)} : {dtype.zero}",
               lambda j, h: f"{j} < n && {h} < count ? {b_at(j, h)} : {dtype.zero}",
               "ak == 1", "bk == 1")}
% else:
  ${block.sums_in_registers(dtype, TM, TN, RM, RN, "count", "m", "n", a_at, b_at)}
% endif
  <%block:each t="${dtype}" TM="${TM}" TN="${TN}" RM="${RM}" RN="${RN}" m="m" n="n">
% if way == "grid_part":
      partial[(get_global_id(2) * m + row) * n + column] = v;
% else:
      ${tile.scale(dtype, "d", "from + z0 * ds0 + z1 * ds1 + row * dr + column * dc")}
      ${out.store("c", "to + z0 * cs0 + z1 * cs1 + row * cr + column * cc", "v")};
% endif
  </%block:each>
}
% endif
