<%doc>
c[z] = alpha * a[z] @ b[z] + beta * d[z] on devices with vector units and few, fat work-items (strategy wide).

a (m, k), b (k, n), d and c (m, n) are read and written through strides; z counts batches: z = z0 * inner + z1, each
with its own strides. scaled: bit 0 says that alpha is not 1, bit 1 that d is to be read; strides of 0 broadcast it (a
bias is d with row stride 0).

A work-item owns up to TILES tiles of MR rows by NR = NV * VW columns (``tiles`` rows of them, at most 32 where it copies a's, by
``panels`` columns: a block of a is read from a near cache once for each of them) and keeps one at a time in registers. k is summed in
blocks of KC, so the order of additions depends on the shape alone. Four ways to read:
  panel_direct  a through its strides, b where its rows are contiguous (column stride 1, n >= NR: the last panel overlaps its neighbour)
  panel_local   as panel_direct, but each item copies a block of b, through its strides, and of an a whose rows are not contiguous, next to each
                other first: lines that are a power of two apart share few places of a cache
  panel_half    a through its strides, b packed
  panel_packed  both packed
``way`` is one of these names: a program holds its kernel and the packers that it needs. pack_a and pack_b write panels
[batch][panel][k][MR or NR], as sums' type and padded with zeros; complex b in two planes per k.
Called by ops/gemm.py; the direct ways need elements that lie in memory as they are summed (not halves, complex, small
integers).
TUNABLES: MR, NV by the number of vector registers (MR * NV + NV + 1 of them); VW lanes in a vector; KC * NR elements of
b that are copied should stay in the first cache, with vectors of 32 bytes and less what was packed, too.
</%doc>
<%namespace name="tile" file="tile.mako"/>
<%!
TUNABLES = dict(
    MR=(6, 6, tuple(range(1, 17))),
    NV=(4, 4, (1, 2, 3, 4, 6, 8, 12, 16)),
    VW=(8, 8, (2, 4, 8, 16)),
    KC=(256, 256, (64, 128, 192, 256, 384, 512)),
    TILES=(128, 128, (8, 16, 32, 64, 128, 192)),
)
CONSTRAINTS = ("MR * NV <= 64",)  # compilers spend minutes on larger unrolled tiles


def pieces(count):
    """(first, elements) of the moves, few and of a power of two each, that ``count`` elements in a row take."""
    found, at = [], 0
    while at < count:
        found.append((at, 1 << min(3, (count - at).bit_length() - 1)))
        at += found[-1][1]
    return found
%>
<%
lane, planes, SIDE = tile.module.lane(dtype), len(tile.module.planes(dtype)), tile.module.side(VW)
NR = NV * VW
ROWS = min(TILES, 32)  # rows of tiles that an item may have where it copies a's
in_place = lane == dtype.storage or dtype.s in ("i32", "i64")  # elements lie in memory as they are summed
one_group = "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))"
%>
${tile.types(dtype, VW)}
% for w in (1, 2, 4, 8):
typedef struct { E at[${w}]; } E${w};
% endfor
${out.definition("c")}
<%def name="packer(kname, R, planar)">
${one_group}
void ${kname}(__global const ${dtype.storage} *restrict src, const long start, const long step, const long kstep, const long s0, const long s1,
  __global E *restrict dst, const int count, const int k, const int inner)
{
  const long z0 = get_global_id(2) / inner, z1 = get_global_id(2) % inner;
  const int from = get_global_id(1) * ${KC}, to = min(from + ${KC}, k), held = min(${R}, count - (int)get_global_id(0) * ${R});
  __global const ${dtype.storage} *const p = src + start + z0 * s0 + z1 * s1 + get_global_id(0) * ${R} * step;
  __global E *const q = dst + (get_global_id(2) * get_global_size(0) + get_global_id(0)) * k * ${R * planes};
<%def name="put(step)">
% if planes == 1:
      q[(long)i * ${R} + r] = (E)(${dtype.load("p", f"r * {step} + i * kstep")});
% else:
      const ${dtype.c} v = p[r * ${step} + i * kstep];
      q[(long)i * ${2 * R} + ${"r" if planar else "2 * r"}] = v.x;
      q[(long)i * ${2 * R} + ${f"r + {R}" if planar else "2 * r + 1"}] = v.y;
% endif
</%def>
% if in_place and planes == 1:
  if (kstep == 1 && held == ${R} && to - from >= ${SIDE}) {
    for (int i0 = from; i0 < to; i0 += ${SIDE}) {
      const int i = min(i0, to - ${SIDE});
% for r in range(0, R, SIDE):
      {
        __global const E *const square = (__global const E *)p + ${r} * step + i;
        __global E *const columns = q + (long)i * ${R} + ${r};
        ${tile.turn(SIDE, lambda t: f"*(__global const WU *)(square + {min(t, R - r - 1)} * step)", lambda t: f"const W column{t}")}
% for t in range(SIDE):
        ${" ".join(f"*(__global E{w} *)(columns + {t * R + at}) = *(const E{w} *)((const E *)&column{t} + {at});" for at, w in pieces(min(SIDE, R - r)))}
% endfor
      }
% endfor
    }
    return;
  }
% endif
  if (step == 1 && held == ${R}) {
    for (int i = from; i < to; i++) {
#ifdef POCL_DEVICE_ADDRESS_BITS
      __builtin_prefetch((const void *)(size_t)(p + (i + 16) * kstep));  // rows lie on pages of their own, where nothing else would see them coming
#endif
      for (int r = 0; r < ${R}; r++) {
        ${put("1")}
      }
    }
  } else {
    for (int i0 = from; i0 < to; i0 += 32) {
      const int i1 = min(i0 + 32, to);
      for (int r = 0; r < held; r++)
        for (int i = i0; i < i1; i++) {
          ${put("step")}
        }
    }
    for (int i = from; i < to && held < ${R}; i++)
      for (int r = held; r < ${R}; r++) {
% if planes == 1:
        q[(long)i * ${R} + r] = 0;
% else:
        q[(long)i * ${2 * R} + ${"r" if planar else "2 * r"}] = 0;
        q[(long)i * ${2 * R} + ${f"r + {R}" if planar else "2 * r + 1"}] = 0;
% endif
      }
  }
}
</%def>
## Where the rows of a that a tile reads in place begin. Rows that it lacks are read as its first.
<%def name="rows()">
          __global const E *const x0 = pa + k0 * ak + r * (${MR} * ar);
% for i in range(1, MR):
          __global const E *const x${i} = x0 + (r * ${MR} + ${i} < m ? ${i} * ar : 0);
% endfor
</%def>
## Batches: while a tile of this product is summed, a few lines of the next one's operands come near. With PoCL: others were not tried, and Oclgrind can't
## run a program with this instruction.
<%def name="ahead()">
#ifdef POCL_DEVICE_ADDRESS_BITS
        if (z1 + 1 < inner) {
          const long other = bn == 1 ? bk : bn;
          __global const E *const next_a = pa + as1 + k0 * ak + r * (${MR} * ar) + (q - left) * (${NR} * ak);
          __global const E *const next_b = pb + bs1 + k0 * bk + r * (${MR} * other) + column;
% for t in range(MR):
          __builtin_prefetch((const void *)(size_t)(next_a + ${t} * ar));
          __builtin_prefetch((const void *)(size_t)(next_b + ${t} * other));
% endfor
        }
#endif
</%def>
## A tile's sums so far wait for the next block of k, or go out.
<%def name="result()">
        if (k0 > 0) {
          ${tile.add(dtype, MR, NV, "kept")}
        }
        if (k0 + kc < k) {
          ${tile.put(dtype, MR, NV, "kept")}
          continue;
        }
        const int rows = min(${MR}, m - r * ${MR}), columns = min(${NR}, n - column);
        const long row = (long)r * ${MR};
        const long place = to + z0 * cs0 + z1 * cs1 + row * cr + column * cc;
        __global const ${dtype.storage} *const add = d + from + z0 * ds0 + z1 * ds1 + row * dr + column * dc;
% if in_place:
        if (rows == ${MR} && columns == ${NR} && straight) {
          ${tile.write(dtype, MR, NV, "kept")}
          continue;
        }
% endif
        ${tile.put(dtype, MR, NV, "kept")}
        for (int i = 0; i < rows; i++) {
          const E *const s = (const E *)(kept + i * ${NV * planes});
          ${tile.finish(dtype, NR)}
        }
</%def>
<%def name="product(kname, packed_a, packed_b)">
${one_group}
void ${kname}(
  __global const ${lane if packed_a else dtype.storage} *restrict a, const long ao, const long ar, const long ak, const long as0, const long as1,
  __global const ${lane if packed_b else dtype.storage} *restrict b, const long bo, const long bk, const long bs0, const long bs1,
  ${tile.target(dtype)}, const int tiles, const int panels)
{
  V sums[${planes * NV * MR * (TILES if packed_b else ROWS)}];
  ${tile.locals(dtype)}
  const int first = get_global_id(1) * tiles, last = min(first + tiles, (m + ${MR - 1}) / ${MR});
% if in_place:
  const int straight = cc == 1 && (scaled == 0 || (scaled == 2 && dc == 1));
% endif
  const int left = get_global_id(0) * panels, right = min(left + panels, (n + ${NR - 1}) / ${NR});
  __global const E *const pa = (__global const E *)a + ao + z0 * as0 + z1 * as1;
  __global const E *const pb = (__global const E *)b + bo + z0 * bs0 + z1 * bs1;
  for (int k0 = 0; k0 < k; k0 += ${KC}) {
    const int kc = min(${KC}, k - k0);
    for (int q = left; q < right; q++) {
% if packed_b:
      const int column = q * ${NR};
      const long pitch = ${NR * planes};
      __global const E *const panel = pb + (q * (long)k + k0) * pitch;
% else:
      const int column = min(q * ${NR}, n - ${NR});
      const long pitch = bk;
      __global const E *const panel = pb + column + k0 * pitch;
% endif
      for (int r = first; r < last; r++) {
        __global const E *y = panel;
        V *const kept = sums + ((q - left) * tiles + r - first) * ${MR * NV * planes};
% if packed_a:
        __global const E *x = pa + ((long)r * k + k0) * ${MR * planes};
% else:
${rows()}
% endif
        ${tile.declare(dtype, MR, NV)}
        for (long i = 0; i < kc; i++) {
% if packed_a:
          ${tile.step(dtype, MR, NV, lambda i, p: f"x[{planes * i + (p == '_im')}]",
                      lambda j, p: f"*(__global const VU *)(y + {j * VW + (NR if p == '_im' else 0)})")}
          x += ${MR * planes};
% else:
          ${tile.step(dtype, MR, NV, lambda i, p: f"x{i}[i * ak]", lambda j, p: f"*(__global const VU *)(y + {j * VW})")}
% endif
          y += pitch;
        }
${result()}      }
    }
  }
}
</%def>
<%def name="local()">
${one_group}
void panel_local(
  __global const ${dtype.storage} *restrict a, const long ao, const long ar, const long ak, const long as0, const long as1,
  __global const ${dtype.storage} *restrict b, const long bo, const long bk, const long bn, const long bs0, const long bs1,
  ${tile.target(dtype)}, const int tiles, const int panels)
{
  V sums[${NV * MR * TILES}], near[${NV * KC}];
  E held[${MR * KC * ROWS}];
  ${tile.locals(dtype)}
% if in_place:
  const int straight = cc == 1 && (scaled == 0 || (scaled == 2 && dc == 1));
% endif
  const int first = get_global_id(1) * tiles, last = min(first + tiles, (m + ${MR - 1}) / ${MR});
  const int left = get_global_id(0) * panels, right = min(left + panels, (n + ${NR - 1}) / ${NR});
  __global const E *const pa = (__global const E *)a + ao + z0 * as0 + z1 * as1;
  __global const E *const pb = (__global const E *)b + bo + z0 * bs0 + z1 * bs1;
  const int copied = ak != 1 && right - left > 1;
  for (int k0 = 0; k0 < k; k0 += ${KC}) {
    const int kc = min(${KC}, k - k0);
    if (copied)
      for (int i0 = 0; i0 < kc; i0 += 8) {  // few rows at a time: whole lines are written, and read again while they are near
        const int i1 = min(i0 + 8, kc);
        __global const E *const x = pa + k0 * ak;
        for (int r = first; r < last; r++) {
          E *const rows = held + (r - first) * ${MR * KC};
          if (ar == 1 && r < m / ${MR})
            for (long i = i0; i < i1; i++) {
              ${" ".join(f"*(E{w} *)(rows + i * {MR} + {t}) = *(__global const E{w} *)(x + i * ak + r * {MR} + {t});" for t, w in pieces(MR))}
            }
          else
            for (long i = i0; i < i1; i++)
              for (int t = 0; t < ${MR}; t++) rows[i * ${MR} + t] = x[i * ak + min(r * ${MR} + t, m - 1) * ar];
        }
      }
    for (int q = left; q < right; q++) {
      const int column = min(q * ${NR}, n - ${NR});
      __global const E *const panel = pb + column * bn + k0 * bk;
      if (bn == 1)
        for (long i = 0; i < kc; i++) {
          __global const VU *const from_b = (__global const VU *)(panel + i * bk);
          ${" ".join(f"near[i * {NV} + {j}] = from_b[{j}];" for j in range(NV))}
        }
      else if (bk == 1 && kc >= ${SIDE})
        for (int i0 = 0; i0 < kc; i0 += ${SIDE}) {
          const int i = min(i0, kc - ${SIDE});
          for (int j = 0; j < ${NR}; j += ${SIDE}) {
            __global const E *const square = panel + j * bn + i;
            ${tile.turn(SIDE, lambda t: f"*(__global const WU *)(square + {t} * bn)", lambda t: f"*(W *)((E *)near + (i + {t}) * {NR} + j)")}
          }
        }
      else
        for (long i = 0; i < kc; i++)
          for (long j = 0; j < ${NR}; j++) ((E *)near)[i * ${NR} + j] = panel[i * bk + j * bn];
      for (int r = first; r < last; r++) {
${ahead()}
        const V *y = near;
        V *const kept = sums + ((q - left) * tiles + r - first) * ${MR * NV};
        ${tile.declare(dtype, MR, NV)}
        if (copied) {
          const E *x = held + (r - first) * ${MR * KC};
          for (int i = 0; i < kc; i++, x += ${MR}, y += ${NV}) {
            ${tile.step(dtype, MR, NV, lambda i, p: f"x[{i}]", lambda j, p: f"y[{j}]")}
          }
        } else {
${rows()}
#pragma unroll 4
          for (long i = 0; i < kc; i++, y += ${NV}) {
            ${tile.step(dtype, MR, NV, lambda i, p: f"x{i}[i * ak]", lambda j, p: f"y[{j}]")}
          }
        }
${result()}
      }
    }
  }
}
</%def>
% if way == "panel_packed":
${packer("pack_a", MR, False)}
% endif
% if way in ("panel_half", "panel_packed"):
${packer("pack_b", NR, True)}
% endif
% if way == "panel_local":
${local()}
% else:
${product(way, way == "panel_packed", way != "panel_direct")}
% endif
