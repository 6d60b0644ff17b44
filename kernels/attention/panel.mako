<%doc>
Attention without a matrix of scores, on devices with vector units and few, fat work-items (strategy wide): o = softmax(scale * q kᵀ + mask) v, and its
gradients. Queries are the lanes of vectors, so that maxima and sums over keys are vector arithmetic and only the queries are ever transposed. Scores
are kept as logarithms to base 2: a power of 2 is half the work of an exponential, and errs by no more than the rounding of a score makes of it.

q (rows, e), k (keys, e), v (keys, ev), g (rows, ev) and mask (rows, keys; bool: true takes part, or added) are read through strides, row and column and
three batch dimensions: z = (z0 * n1 + z1) * n2 + z2. causal: row l sees keys 0 to l. Results are written through strides of rows and batches.

forward   o (rows, ev) and lse (rows), the logarithm to base 2 of each row's sum of e^score: infinity where a row sees nothing, whose o is 0. A work-item takes
          QUERIES rows and goes along the keys in blocks of KEYS with a running maximum and sum
backward  from g = do, o and lse: dq (rows, e) and, in sums' type, dk (keys, e) and dv (keys, ev). Weights are computed again. A work-item takes
          every chunks-th block of rows; chunk c adds to the c-th of all batches' dk, one after the other, and dv likewise, which are added up later
mask      its type, or None. CAP: e and ev are at most this; padding isn't multiplied
dropout   of weights: drawn again by the gradients. Words below ``limit`` drop theirs, the others are multiplied by ``share``
TUNABLES: MR keys (or channels) by NV vectors of VW lanes are summed in registers; QUERIES and KEYS: a block, as it is kept in the caches.
Called by ops/attention_launch.py.
</%doc>
<%!
LOG2_E = 1.4426950408889634

TUNABLES = dict(
    MR=(6, 6, (2, 4, 6, 8, 12)),
    NV=(2, 2, (1, 2, 3, 4)),
    VW=(8, 8, (2, 4, 8, 16)),
    QUERIES=(64, 64, (16, 32, 48, 64, 96, 128)),
    KEYS=(48, 48, (24, 48, 64, 96, 128)),
)
CONSTRAINTS = ("QUERIES % (NV * VW) == 0", "MR * NV <= 32", "KEYS % 4 == 0")
%>
<%namespace name="tile" file="/matmul/tile.mako"/>
<%namespace name="operands" file="operands.mako"/>
<%namespace name="whole" file="/pointwise/whole.mako"/>
<%
acc = dtype.acc
A, power, log = acc.c, f"vanishing_exp2_{acc.s}", f"log2_{acc.s}"
BINARY = acc.lit(LOG2_E)  # from natural logarithms to those of base 2
backward = stage == "backward"
NR = NV * VW
PANELS = QUERIES // NR
HEIGHT = -(-KEYS // MR) * MR
DRAWN = -(-HEIGHT // 4) * 4  # keys as they are drawn for, four at a time
WIDTH = -(-CAP // MR) * MR  # channels as rows of tiles
COLUMNS = -(-CAP // NR) * NR  # channels as lanes
cells = [(i, j) for i in range(MR) for j in range(NV)]
lanes = range(NV)
in_place = dtype.storage == A  # elements lie in memory as they are summed: squares of vectors are turned in registers
SIDE = tile.module.side(VW)
kept = f", kept[{DRAWN * NR}]" if dropout else ""
%>
${tile.types(acc, VW)}
## Before a loop that computes powers.
<%def name="laborious(vectors)">${whole.loop(whole.module.sizes[A], vectors, vectors)}</%def>
## Rows from..stop - 1 of an operand as arithmetic numbers in an array of ``pitch``; the rest up to ``high`` rows and ``wide`` columns is 0.
<%def name="stage_rows(source, target, pitch, row, stop, high, columns, wide, factor='')">
    for (int j = 0; j < ${high}; j++) {
      ${A} *const to = ${target} + j * ${pitch};
      __global const ${dtype.storage} *const from = ${source} + (${row} + j) * ${source}r;
      const int n_ = ${row} + j < ${stop} ? ${columns} : 0;
      if (${source}c == 1) {
        for (int c = 0; c < n_; c++) to[c] = ${dtype.load("from", "c")}${factor};
      } else {
        for (int c = 0; c < n_; c++) to[c] = ${dtype.load("from", f"c * {source}c")}${factor};
      }
      for (int c = n_; c < ${wide}; c++) to[c] = ${acc.zero};
    }
</%def>
## The block's keys in kb and values in vb, lines of WIDTH.
<%def name="stage_keys()">
    for (int part = 0; part < 2; part++) {  // here and below: one loop of two turns takes a compiler half as long as two loops
      __global const ${dtype.storage} *const x = part ? v : k;
      const long xr = part ? vr : kr, xc = part ? vc : kc;
      const int columns = part ? ev : e, across = (columns + ${MR - 1}) / ${MR} * ${MR};
      ${A} *const block = part ? vb : kb;
      ${stage_rows("x", "block", WIDTH, "j0", "stop", "filled", "columns", "across")}
    }
</%def>
## Panels of NR rows of an operand, transposed: [panel][column][NR]; rows that there aren't are 0.
<%def name="stage_panels(source, target, columns, factor='')">
    for (int l0 = 0; l0 < ${QUERIES}; l0 += ${SIDE}) {
      ${A} *const to = (${A} *)${target} + l0 / ${NR} * ${CAP * NR} + l0 % ${NR};
      __global const ${dtype.storage} *const from = ${source} + (first + l0) * ${source}r;
% if in_place:
      if (${source}c == 1 && first + l0 + ${SIDE} <= rows && ${columns} >= ${SIDE}) {
        for (int c0 = 0; c0 < ${columns}; c0 += ${SIDE}) {
          const int c = min(c0, ${columns} - ${SIDE});
          ${tile.turn(SIDE, lambda i: f"*(__global const WU *)(from + {i} * {source}r + c){factor}", lambda i: f"*(W *)(to + (c + {i}) * {NR})")}
        }
        continue;
      }
% endif
      for (int l = 0; l < ${SIDE}; l++)
        for (int c = 0; c < ${columns}; c++)
          to[c * ${NR} + l] = first + l0 + l < rows ? ${dtype.load("from", f"l * {source}r + c * {source}c")}${factor} : ${acc.zero};
    }
</%def>
## Such panels of sums, [panel][channel][NR], go out as rows of a result, times a factor for each row: a vector.
<%def name="write_rows(source, target, columns, factor)">
    const int there = min(${QUERIES}, rows - first);
    for (int l0 = 0; l0 < there; l0 += ${SIDE}) {
      const ${A} *const from = (const ${A} *)${source} + l0 / ${NR} * ${WIDTH * NR} + l0 % ${NR};
      __global ${dtype.storage} *const to = ${target} + (first + l0) * ${target}r;
      const W times = ${factor};
% if in_place:
      if (l0 + ${SIDE} <= there && ${columns} >= ${SIDE}) {
        for (int c0 = 0; c0 < ${columns}; c0 += ${SIDE}) {
          const int c = min(c0, ${columns} - ${SIDE});
          ${tile.turn(SIDE, lambda i: f"*(const W *)(from + (c + {i}) * {NR}) * times", lambda i: f"*(__global WU *)(to + {i} * {target}r + c)")}
        }
        continue;
      }
% endif
      for (int l = 0; l < min(${SIDE}, there - l0); l++)
        for (int c = 0; c < ${columns}; c++)
          ${dtype.store("to", f"l * {target}r + c", f"from[c * {NR} + l] * ((const {A} *)&times)[l]")};
    }
</%def>
## Tiles of MR rows by NR lanes: the sum over i < depth of a(row, i) * b(i, lane). a(row): the text that reads from x, which is ``start`` for each tile;
## b is [depth][NR]; put(row, vector): what is done with a sum.
<%def name="product(high, depth, start, a, b, put)">
    for (int r = 0; r < ${high}; r += ${MR}) {
      const ${A} *const x = ${start};
      const V *y = ${b};
      ${tile.declare(acc, MR, NV)}
      for (int i = 0; i < ${depth}; i++, y += ${NV}) {
        ${tile.step(acc, MR, NV, lambda row, p: a(row), lambda j, p: f"y[{j}]")}
      }
% for i, j in cells:
      ${put(i, j)};
% endfor
    }
</%def>
## Hides what a panel's rows don't see: scores of ``high`` keys from key j0 on for NR rows from ``row`` on, of which n keys are there.
<%def name="hide(scores)">
% if mask is not None:
      for (int l = 0; l < ${NR}; l++) {
        const long query = min(row + l, rows - 1);
        for (int j = 0; j < n; j++) {
          ${operands.hide(acc, mask, f"{scores}[j * {NR} + l]", "query", "(j0 + j)", f" * {BINARY}")}
        }
      }
% endif
      if (causal && j0 + high > row + 1)
        for (int j = 0; j < high; j++)
          for (int l = 0; l < ${NR}; l++) ${scores}[j * ${NR} + l] = j0 + j > row + l ? ${acc.lowest} : ${scores}[j * ${NR} + l];
</%def>
## What dropout multiplies a panel's weights with, 0 or share, for ``high`` keys from j0 on and NR rows from ``row`` on.
<%def name="draw(high)">
      for (int j = 0; j < ${high}; j += 4)
        for (int l = 0; l < ${NR}; l++) {
          const uint4 word = ${operands.words("(row + l)", "(j0 + j) / 4")};
% for k, name in enumerate("xyzw"):
          kept[(j + ${k}) * ${NR} + l] = word.${name} < limit ? ${acc.zero} : share;
% endfor
        }
</%def>
## The keys of this block that the panel sees some of; where it sees none, it is left out.
<%def name="visible()">
      const int row = first + panel * ${NR}, n = causal ? min(held, row + ${NR} - j0) : held, high = (n + ${MR - 1}) / ${MR} * ${MR};
      if (n <= 0) ${"{ seen[panel] = 0; continue; }" if backward else "continue;"}
</%def>
## Tiles of a panel times the block's keys (or values).
<%def name="over_keys(target, depth, block, queries)">
      ${product("high", depth, f"{block} + r * {WIDTH}", lambda i: f"x[{i * WIDTH} + i]", f"{queries} + panel * {CAP * NV}",
                lambda i, j: f"{target}[(r + {i}) * {NV} + {j}] = c{i}_{j}")}
</%def>
% if not backward:
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void forward(${operands.result(dtype, "o")}, __global ${A} *restrict lse,
${operands.parameters(dtype, mask, dropout)})
{
  V qt[${PANELS * CAP * NV}], ot[${PANELS * WIDTH * NV}], p[${HEIGHT * NV}], top[${PANELS * NV}], sum[${PANELS * NV}];
  ${A} kb[${HEIGHT * WIDTH}], vb[${HEIGHT * WIDTH}]${kept};
  const long z = get_global_id(1);
  ${operands.begin(mask, (), ("o",))}
  ## heavy and light blocks of a causal head by turns: whichever part of them a thread gets is as much work
  const int blocks = get_global_size(0), b = get_global_id(0), first = (b % 2 ? blocks - 1 - b / 2 : b / 2) * ${QUERIES};
  const int panels = min(${PANELS}, (rows - first + ${NR - 1}) / ${NR}), stop = causal ? min(keys, first + ${QUERIES}) : keys;
  const int channels = (ev + ${MR - 1}) / ${MR} * ${MR};
  const ${A} steep = scale * ${BINARY};
  ${stage_panels("q", "qt", "e", " * steep")}
  for (int j = 0; j < ${PANELS * NV}; j++) { top[j] = (V)(${acc.lowest}); sum[j] = (V)(${acc.zero}); }
  for (int panel = 0; panel < panels; panel++)
    for (int j = 0; j < channels * ${NV}; j++) ot[panel * ${WIDTH * NV} + j] = (V)(${acc.zero});
  for (int j0 = 0; j0 < stop; j0 += ${KEYS}) {
    const int held = min(${KEYS}, stop - j0), filled = (held + ${MR - 1}) / ${MR} * ${MR};
    ${stage_keys()}
    for (int panel = 0; panel < panels; panel++) {
      ${visible()}
      ${over_keys("p", "e", "kb", "qt")}
      ${A} *const s = (${A} *)p;
      ${hide("s")}
% for j in lanes:
      V m${j} = top[panel * ${NV} + ${j}];
% endfor
      for (int j = 0; j < n; j++) {
% for j in lanes:
        m${j} = p[j * ${NV} + ${j}] > m${j} ? p[j * ${NV} + ${j}] : m${j};
% endfor
      }
      V fade[${NV}];
% for j in lanes:
      const V t${j} = m${j} == (V)(${acc.lowest}) ? (V)(${acc.zero}) : m${j};  // a row that sees nothing yet: no infinity minus infinity
      fade[${j}] = top[panel * ${NV} + ${j}] - t${j};
      top[panel * ${NV} + ${j}] = m${j};
% endfor
      for (int j = 0; j < n; j++) {
% for j in lanes:
        p[j * ${NV} + ${j}] -= t${j};
% endfor
      }
      ${laborious(NV)}
      for (int j = 0; j < ${NR}; j++) ((${A} *)fade)[j] = ${power}(((${A} *)fade)[j]);
      ${laborious(4)}
      for (int j = 0; j < n * ${NR}; j++) s[j] = ${power}(s[j]);
% for j in lanes:
      const V f${j} = fade[${j}];
      V u${j} = sum[panel * ${NV} + ${j}] * f${j};
% endfor
      for (int j = 0; j < n; j++) {
% for j in lanes:
        u${j} += p[j * ${NV} + ${j}];
% endfor
      }
% for j in lanes:
      sum[panel * ${NV} + ${j}] = u${j};
% endfor
% if dropout:
      ${draw("n")}
      for (int j = 0; j < n * ${NR}; j++) s[j] *= kept[j];
% endif
      V *const out = ot + panel * ${WIDTH * NV};
      ${product("channels", "n", "vb + r", lambda i: f"x[i * {WIDTH} + {i}]", "p",
                lambda i, j: f"out[(r + {i}) * {NV} + {j}] = out[(r + {i}) * {NV} + {j}] * f{j} + c{i}_{j}")}
    }
  }
  for (int l = 0; l < min(${QUERIES}, rows - first); l++) {
    const ${A} total = ((${A} *)sum)[l];
    lse[z * rows + first + l] = total == 0 ? INFINITY : ((${A} *)top)[l] + ${log}(total);
    ((${A} *)sum)[l] = total == 0 ? ${acc.zero} : 1 / total;
  }
  ${write_rows("ot", "o", "ev", f"*(const W *)((const {A} *)sum + l0)")}
}
% else:
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void backward(${operands.result(dtype, "dq")}, ${operands.result(acc, "dk")}, ${operands.result(acc, "dv")},
  ${operands.operand(dtype, "g")}, ${operands.result(dtype, "o", "const")}, __global const ${A} *restrict lse,
${operands.parameters(dtype, mask, dropout)})
{
  V qt[${PANELS * CAP * NV}], gt[${PANELS * CAP * NV}], qs[${QUERIES * COLUMNS // VW}], gs[${QUERIES * COLUMNS // VW}], dt[${PANELS * WIDTH * NV}];
  V p[${PANELS * HEIGHT * NV}], d[${PANELS * HEIGHT * NV}];
  ${A} kb[${HEIGHT * WIDTH}], vb[${HEIGHT * WIDTH}], norm[${QUERIES}], mean[${QUERIES}]${kept};
  int seen[${PANELS}];
  const long z = get_global_id(1);
  ${operands.begin(mask, ("g",), ("dq", "dk", "dv", "o"))}
  const long before = get_global_id(0) * get_global_size(1) * keys;
  const int channels = (e + ${MR - 1}) / ${MR} * ${MR};
  dk += before * e;
  dv += before * ev;
  for (int j = 0; j < keys; j++) {
    for (int i = 0; i < e; i++) dk[j * dkr + i] = ${acc.zero};
    for (int i = 0; i < ev; i++) dv[j * dvr + i] = ${acc.zero};
  }
  for (int first = get_global_id(0) * ${QUERIES}; first < rows; first += get_global_size(0) * ${QUERIES}) {
    const int panels = min(${PANELS}, (rows - first + ${NR - 1}) / ${NR}), stop = causal ? min(keys, first + ${QUERIES}) : keys;
    for (int part = 0; part < 2; part++) {
      __global const ${dtype.storage} *const x = part ? g : q;
      const long xr = part ? gr : qr, xc = part ? gc : qc;
      const int columns = part ? ev : e, across = (columns + ${NR - 1}) / ${NR} * ${NR};
      const ${A} factor = part ? ${acc.one} : scale, steep = part ? ${acc.one} : scale * ${BINARY};
      ${A} *const beside = (${A} *)(part ? gs : qs);
      ${stage_panels("x", "(part ? gt : qt)", "columns", " * steep")}
      ${stage_rows("x", "beside", COLUMNS, "first", "rows", QUERIES, "columns", "across", " * factor")}
    }
    for (int l = 0; l < ${QUERIES}; l++) {
      norm[l] = first + l < rows ? lse[z * rows + first + l] : INFINITY;
      __global const ${dtype.storage} *const answer = o + min(first + l, rows - 1) * or;
      const ${A} *const given = (const ${A} *)gs + l * ${COLUMNS};
      ${A} sums[${VW}];
      for (int i = 0; i < ${VW}; i++) sums[i] = ${acc.zero};
      int c = 0;
      for (; c + ${VW} <= ev; c += ${VW})
        for (int i = 0; i < ${VW}; i++) sums[i] += given[c + i] * ${dtype.load("answer", "c + i")};
      for (; c < ev; c++) sums[0] += given[c] * ${dtype.load("answer", "c")};
% for half in (VW >> k for k in range(1, VW.bit_length())):
      for (int i = 0; i < ${half}; i++) sums[i] += sums[i + ${half}];
% endfor
      mean[l] = sums[0];
    }
    for (int panel = 0; panel < panels; panel++)
      for (int j = 0; j < channels * ${NV}; j++) dt[panel * ${WIDTH * NV} + j] = (V)(${acc.zero});
    for (int j0 = 0; j0 < stop; j0 += ${KEYS}) {
      const int held = min(${KEYS}, stop - j0), filled = (held + ${MR - 1}) / ${MR} * ${MR};
      ${stage_keys()}
      for (int panel = 0; panel < panels; panel++) {
        V *const weight = p + panel * ${HEIGHT * NV}, *const change = d + panel * ${HEIGHT * NV};
        ${visible()}
        seen[panel] = n;
        for (int part = 0; part < 2; part++) {
          V *const target = part ? change : weight;
          ${over_keys("target", "(part ? ev : e)", "(part ? vb : kb)", "(part ? gt : qt)")}
        }
        ${A} *const s = (${A} *)weight;
        ${hide("s")}
        ${A} *const t = (${A} *)change;
        const ${A} *const log_sum = norm + panel * ${NR}, *const middle = mean + panel * ${NR};
% if dropout:
        ${draw("high")}
% endif
<% place = f"j * {NR} + l" %>
        for (int j = 0; j < high; j++)
          ${laborious(NV)}
          for (int l = 0; l < ${NR}; l++) {
            const ${A} w = ${power}(s[${place}] - log_sum[l]);
            s[${place}] = w${f" * kept[{place}]" if dropout else ""};
            t[${place}] = w * (t[${place}]${f" * kept[{place}]" if dropout else ""} - middle[l]);
          }
        V *const out = dt + panel * ${WIDTH * NV};
        ${product("channels", "n", "kb + r", lambda i: f"x[i * {WIDTH} + {i}]", "change", lambda i, j: f"out[(r + {i}) * {NV} + {j}] += c{i}_{j}")}
      }
      ## Sums over the block's queries: tiles of MR keys by NR channels of weights (or of their gradients) times rows of the result's gradient (or of
      ## queries), added to memory. Panels that see nothing of a tile's keys are left out.
      for (int part = 0; part < 2; part++) {
        const V *const weights = part ? d : p, *const rows_of = part ? qs : gs;
        const int columns = part ? e : ev;
        __global ${A} *const target = part ? dk : dv;
        const long pitch = part ? dkr : dvr;
        for (int r = 0; r < held; r += ${MR})
          for (int c = 0; c < columns; c += ${NR}) {
            ${tile.declare(acc, MR, NV)}
            for (int panel = 0; panel < panels; panel++) {
              if (seen[panel] <= r) continue;
              const ${A} *const x = (const ${A} *)weights + (panel * ${HEIGHT} + r) * ${NR};
              const V *y = rows_of + (panel * ${NR * COLUMNS} + c) / ${VW};
              for (int i = 0; i < ${NR}; i++, y += ${COLUMNS // VW}) {
                ${tile.step(acc, MR, NV, lambda row, p: f"x[{row * NR} + i]", lambda j, p: f"y[{j}]")}
              }
            }
            V sums[${MR * NV}];
% for i, j in cells:
            sums[${i * NV + j}] = c${i}_${j};
% endfor
            const int down = min(${MR}, held - r), across = min(${NR}, columns - c);
            for (int i = 0; i < down; i++) {
              const ${A} *const from = (const ${A} *)(sums + i * ${NV});
              __global ${A} *const to = target + (j0 + r + i) * pitch + c;
              if (across == ${NR}) {
                for (int l = 0; l < ${NR}; l++) to[l] += from[l];
              } else {
                for (int l = 0; l < across; l++) to[l] += from[l];
              }
            }
          }
      }
    }
    ${write_rows("dt", "dq", "e", "(W)(scale)")}
  }
}
% endif
