<%doc>
out[b, r, c] = x[offset + b's part + r + c * column]: a contiguous copy of something whose rows are memory's columns. Tiles, so that both
sides are read and written in runs. Called by core/relayout.py for contiguous(); elements are moved as raw bits.

raw     C type of an element's bits      rank   number of batch dimensions, sizes d<k>, strides in x t<k>, strides in out u<k>
row     stride of r in out (c's is 1)
</%doc>
<%! TUNABLES = dict(TILE=(32, 16, (8, 16, 32, 64)), ROWS=(1, 4, (1, 2, 4, 8, 16)))
CONSTRAINTS = ("TILE % ROWS == 0", "wide or TILE * ROWS <= work_group", "wide or TILE * (TILE + 1) * 16 <= local_bytes", "not wide or ROWS == 1") %>
<%def name="place(batch)">
    uint from = offset, to = 0;
% for k in reversed(range(rank)):
    { const uint q = ${batch} / d${k}, i = ${batch} - q * d${k}; from += i * t${k}; to += i * u${k}; ${batch} = q; }
% endfor
</%def>
% if wide:
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
% else:
__kernel __attribute__((reqd_work_group_size(${TILE}, ${ROWS}, 1)))
% endif
void transpose(__global ${raw} *restrict out, __global const ${raw} *restrict x, const uint offset, const uint batches, const uint rows,
               const uint cols, const uint row, const uint column
% for k in range(rank):
  , const uint d${k}, const uint t${k}, const uint u${k}
% endfor
)
{
  const uint down = (rows + ${TILE - 1}) / ${TILE}, across = (cols + ${TILE - 1}) / ${TILE}, tiles = batches * down * across;
% if wide:
  const uint per = (tiles + (uint)get_num_groups(0) - 1) / (uint)get_num_groups(0);
  const uint lo = (uint)get_group_id(0) * per, hi = lo + per < tiles ? lo + per : tiles;
  ${raw} held[${TILE}][${TILE}];
  for (uint tile = lo; tile < hi; tile++) {
    const uint c0 = tile % across * ${TILE}, r0 = tile / across % down * ${TILE};
    uint batch = tile / across / down;
    ${place("batch")}
    __global const ${raw} *restrict source = x + from + r0 + c0 * column;
    __global ${raw} *restrict target = out + to + r0 * row + c0;
    if (r0 + ${TILE} <= rows && c0 + ${TILE} <= cols) {
      for (uint c = 0; c < ${TILE}; c++)
        for (uint r = 0; r < ${TILE}; r++) held[c][r] = source[c * column + r];
      for (uint r = 0; r < ${TILE}; r++)
        for (uint c = 0; c < ${TILE}; c++) target[r * row + c] = held[c][r];
    } else {
      const uint height = rows - r0 < ${TILE} ? rows - r0 : ${TILE}, width = cols - c0 < ${TILE} ? cols - c0 : ${TILE};
      for (uint r = 0; r < height; r++)
        for (uint c = 0; c < width; c++) target[r * row + c] = source[c * column + r];
    }
  }
% else:
  __local ${raw} held[${TILE}][${TILE + 1}];
  const uint lx = get_local_id(0), ly = get_local_id(1);
  for (uint tile = get_group_id(0); tile < tiles; tile += get_num_groups(0)) {
    const uint c0 = tile % across * ${TILE}, r0 = tile / across % down * ${TILE};
    uint batch = tile / across / down;
    ${place("batch")}
    for (uint c = ly; c < ${TILE}; c += ${ROWS})
      if (c0 + c < cols && r0 + lx < rows) held[c][lx] = x[from + r0 + lx + (c0 + c) * column];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint r = ly; r < ${TILE}; r += ${ROWS})
      if (r0 + r < rows && c0 + lx < cols) out[to + (r0 + r) * row + c0 + lx] = held[lx][r];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
% endif
}
