<%doc>
c[z] = alpha * a[z] @ b[z] + beta * d[z] on devices with many small work-items and local memory (strategy grid); see
block.mako.

Arguments as in panel.mako, with both strides of a and b: any layout, every type. Edges are zeros in local memory.
Called by ops/gemm.py. TUNABLES: TM by TN sums a work-group, RM by RN an item (TM / RM * TN / RN items), TK deep
slices.
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
)
CONSTRAINTS = ("TM % RM == 0 and TN % RN == 0", "TM // RM * (TN // RN) <= work_group", "TK * (TM + TN + 2) * 4 <= local_bytes", "RM * RN <= 64")
%>
${out.definition("c")}
__kernel __attribute__((reqd_work_group_size(${TN // RN}, ${TM // RM}, 1)))
void grid(
  __global const ${dtype.storage} *restrict a, const long ao, const long ar, const long ak, const long as0, const long as1,
  __global const ${dtype.storage} *restrict b, const long bo, const long bk, const long bc, const long bs0, const long bs1,
  ${tile.target(dtype)})
{
  ${tile.locals(dtype)}
  __global const ${dtype.storage} *const pa = a + ao + z0 * as0 + z1 * as1;
  __global const ${dtype.storage} *const pb = b + bo + z0 * bs0 + z1 * bs1;
  ${block.sums(dtype, TM, TN, TK, RM, RN, "k",
               lambda i, h: f"{i} < m && {h} < k ? {dtype.load('pa', f'{i} * ar + {h} * ak')} : {dtype.zero}",
               lambda j, h: f"{j} < n && {h} < k ? {dtype.load('pb', f'{h} * bk + {j} * bc')} : {dtype.zero}",
               "ak == 1", "bk == 1")}
  <%block:each t="${dtype}" TM="${TM}" TN="${TN}" RM="${RM}" RN="${RN}" m="m" n="n">
      ${tile.scale(dtype, "d", "from + z0 * ds0 + z1 * ds1 + row * dr + column * dc")}
      ${out.store("c", "to + z0 * cs0 + z1 * cs1 + row * cr + column * cc", "v")};
  </%block:each>
}
