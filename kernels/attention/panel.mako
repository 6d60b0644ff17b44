<%doc>
Attention without a matrix of scores, on devices with vector units and few, fat work-items (strategy wide): o = softmax(scale * q kᵀ + mask) v, and its
gradients. Queries are the lanes of vectors, so that maxima and sums over keys are vector arithmetic and only the queries are ever transposed.

q (rows, e), k (keys, e), v (keys, ev), g (rows, ev) and mask (rows, keys; bool: true takes part, or added) are read through strides, row and column and
three batch dimensions: z = (z0 * n1 + z1) * n2 + z2. causal: row l sees keys 0 to l. Results are written through strides of rows and batches.

forward   o (rows, ev) and lse (rows), the logarithm of each row's sum of e^score: infinity where a row sees nothing, whose o is 0. A work-item takes
          QUERIES rows and goes along the keys in blocks of KEYS with a running maximum and sum
backward  from g = do, o and lse: dq (rows, e) and, in sums' type, dk (keys, e) and dv (keys, ev). Weights are computed again. A work-item takes
          every chunks-th block of rows; chunk c adds to the c-th of all batches' dk, one after the other, and dv likewise, which are added up later
mask      its type, or None. CAP: e and ev are at most this; padding isn't multiplied
TUNABLES: MR keys (or channels) by NV vectors of VW lanes are summed in registers; QUERIES and KEYS: a block, as it is kept in the caches.
Called by ops/attention_launch.py.
</%doc>
<%!
TUNABLES = dict(
    MR=(6, 6, (2, 4, 6, 8, 12)),
    NV=(2, 2, (1, 2, 3, 4)),
    VW=(8, 8, (2, 4, 8, 16)),
    QUERIES=(64, 64, (16, 32, 48, 64, 96, 128)),
    KEYS=(48, 48, (24, 48, 64, 96, 128)),
)
CONSTRAINTS = ("QUERIES % (NV * VW) == 0", "MR * NV <= 32")
%>
<%namespace name="tile" file="/matmul/tile.mako"/>
<%namespace name="operands" file="operands.mako"/>
<%namespace name="whole" file="/pointwise/whole.mako"/>
<%
acc = dtype.acc
A, exp, log = acc.c, f"exp_{acc.s}", f"log_{acc.s}"
backward = stage == "backward"
NR = NV * VW
PANELS = QUERIES // NR
HEIGHT = -(-KEYS // MR) * MR
WIDTH = -(-CAP // MR) * MR  # channels as rows of tiles
COLUMNS = -(-CAP // NR) * NR  # channels as lanes
cells = [(i, j) for i in range(MR) for j in range(NV)]
lanes = range(NV)
%>
${tile.types(acc, VW)}
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
## Panels of NR rows of an operand, transposed: [panel][column][NR]; rows that there aren't are 0.
<%def name="stage_panels(source, target, columns, factor='')">
    for (int l = 0; l < ${QUERIES}; l++) {
      ${A} *const to = (${A} *)${target} + l / ${NR} * ${CAP * NR} + l % ${NR};
      __global const ${dtype.storage} *const from = ${source} + (first + l) * ${source}r;
      if (first + l < rows) {
        for (int c = 0; c < ${columns}; c++) to[c * ${NR}] = ${dtype.load("from", f"c * {source}c")}${factor};
      } else {
        for (int c = 0; c < ${columns}; c++) to[c * ${NR}] = ${acc.zero};
      }
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
          ${operands.hide(acc, mask, f"{scores}[j * {NR} + l]", "query", "(j0 + j)")}
        }
      }
% endif
      if (causal && j0 + high > row + 1)
        for (int j = 0; j < high; j++)
          for (int l = 0; l < ${NR}; l++) ${scores}[j * ${NR} + l] = j0 + j > row + l ? ${acc.lowest} : ${scores}[j * ${NR} + l];
</%def>
## The keys of this block that the panel sees some of, and tiles of scores of them.
<%def name="scores(target, pitch)">
      const int row = first + panel * ${NR}, n = causal ? min(held, row + ${NR} - j0) : held, high = (n + ${MR - 1}) / ${MR} * ${MR};
      if (n <= 0) ${"{ seen[panel] = 0; continue; }" if backward else "continue;"}
      ${product("high", "e", f"kb + r * {pitch}", lambda i: f"x[{i * pitch} + i]", f"qt + panel * {CAP * NV}", lambda i, j: f"{target}[(r + {i}) * {NV} + {j}] = c{i}_{j}")}
      ${A} *const s = (${A} *)${target};
      ${hide("s")}
</%def>
% if not backward:
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void forward(${operands.result(dtype, "o")}, __global ${A} *restrict lse,
${operands.parameters(dtype, mask)})
{
  V qt[${PANELS * CAP * NV}], ot[${PANELS * WIDTH * NV}], p[${HEIGHT * NV}], top[${PANELS * NV}], sum[${PANELS * NV}];
  ${A} kb[${HEIGHT * CAP}], vb[${KEYS * WIDTH}];
  const long z = get_global_id(1);
  ${operands.begin(mask, (), ("o",))}
  ## heavy and light blocks of a causal head by turns: whichever part of them a thread gets is as much work
  const int blocks = get_global_size(0), b = get_global_id(0), first = (b % 2 ? blocks - 1 - b / 2 : b / 2) * ${QUERIES};
  const int panels = min(${PANELS}, (rows - first + ${NR - 1}) / ${NR}), stop = causal ? min(keys, first + ${QUERIES}) : keys;
  const int channels = (ev + ${MR - 1}) / ${MR} * ${MR};
  ${stage_panels("q", "qt", "e", " * scale")}
  for (int j = 0; j < ${PANELS * NV}; j++) { top[j] = (V)(${acc.lowest}); sum[j] = (V)(${acc.zero}); }
  for (int panel = 0; panel < panels; panel++)
    for (int j = 0; j < channels * ${NV}; j++) ot[panel * ${WIDTH * NV} + j] = (V)(${acc.zero});
  for (int j0 = 0; j0 < stop; j0 += ${KEYS}) {
    const int held = min(${KEYS}, stop - j0), filled = (held + ${MR - 1}) / ${MR} * ${MR};
    ${stage_rows("k", "kb", CAP, "j0", "stop", "filled", "e", "e")}
    ${stage_rows("v", "vb", WIDTH, "j0", "stop", "held", "ev", "channels")}
    for (int panel = 0; panel < panels; panel++) {
      ${scores("p", CAP)}
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
      for (int j = 0; j < ${NR}; j++) ((${A} *)fade)[j] = ${exp}(((${A} *)fade)[j]);
      for (int j = 0; j < n * ${NR}; j++) s[j] = ${exp}(s[j]);
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
      V *const out = ot + panel * ${WIDTH * NV};
      ${product("channels", "n", "vb + r", lambda i: f"x[i * {WIDTH} + {i}]", "p",
                lambda i, j: f"out[(r + {i}) * {NV} + {j}] = out[(r + {i}) * {NV} + {j}] * f{j} + c{i}_{j}")}
    }
  }
  for (int l = 0; l < min(${QUERIES}, rows - first); l++) {
    const ${A} total = ((${A} *)sum)[l], share = total == 0 ? ${acc.zero} : 1 / total;
    const ${A} *const from = (${A} *)ot + l / ${NR} * ${WIDTH * NR} + l % ${NR};
    __global ${dtype.storage} *const to = o + (first + l) * or;
    lse[z * rows + first + l] = total == 0 ? INFINITY : ((${A} *)top)[l] + ${log}(total);
    for (int c = 0; c < ev; c++) ${dtype.store("to", "c", f"from[c * {NR}] * share")};
  }
}
% else:
## Sums over a block's queries for keys from j0 on: tiles of MR keys by NR channels of weights (or of their gradients) times rows of queries (or of the
## gradient of the result), added to memory. Panels that see nothing of a tile's keys are left out.
<%def name="collect(weights, rows_of, channels, target, pitch)">
      for (int r = 0; r < held; r += ${MR})
        for (int c = 0; c < ${channels}; c += ${NR}) {
          ${tile.declare(acc, MR, NV)}
          for (int panel = 0; panel < panels; panel++) {
            if (seen[panel] <= r) continue;
            const ${A} *const x = (const ${A} *)${weights} + (panel * ${HEIGHT} + r) * ${NR};
            const V *y = ${rows_of} + (panel * ${NR * COLUMNS} + c) / ${VW};
            for (int i = 0; i < ${NR}; i++, y += ${COLUMNS // VW}) {
              ${tile.step(acc, MR, NV, lambda row, p: f"x[{row * NR} + i]", lambda j, p: f"y[{j}]")}
            }
          }
          V sums[${MR * NV}];
% for i, j in cells:
          sums[${i * NV + j}] = c${i}_${j};
% endfor
          const int down = min(${MR}, held - r), across = min(${NR}, ${channels} - c);
          for (int i = 0; i < down; i++) {
            const ${A} *const from = (const ${A} *)(sums + i * ${NV});
            __global ${A} *const to = ${target} + (j0 + r + i) * ${pitch} + c;
            if (across == ${NR}) {
              for (int l = 0; l < ${NR}; l++) to[l] += from[l];
            } else {
              for (int l = 0; l < across; l++) to[l] += from[l];
            }
          }
        }
</%def>
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void backward(${operands.result(dtype, "dq")}, ${operands.result(acc, "dk")}, ${operands.result(acc, "dv")},
  ${operands.operand(dtype, "g")}, ${operands.result(dtype, "o", "const")}, __global const ${A} *restrict lse,
${operands.parameters(dtype, mask)})
{
  V qt[${PANELS * CAP * NV}], gt[${PANELS * CAP * NV}], qs[${QUERIES * COLUMNS // VW}], gs[${QUERIES * COLUMNS // VW}], dt[${PANELS * WIDTH * NV}];
  V p[${PANELS * HEIGHT * NV}], d[${PANELS * HEIGHT * NV}];
  ${A} kb[${HEIGHT * WIDTH}], vb[${HEIGHT * CAP}], norm[${QUERIES}], mean[${QUERIES}];
  int seen[${PANELS}];
  const long z = get_global_id(1);
  ${operands.begin(mask, ("g",), ("dq", "dk", "dv", "o"))}
  const long before = get_global_id(0) * get_global_size(1) * keys;
  const int channels = (e + ${MR - 1}) / ${MR} * ${MR}, across_e = (e + ${NR - 1}) / ${NR} * ${NR}, across_ev = (ev + ${NR - 1}) / ${NR} * ${NR};
  dk += before * e;
  dv += before * ev;
  for (int j = 0; j < keys; j++) {
    for (int i = 0; i < e; i++) dk[j * dkr + i] = ${acc.zero};
    for (int i = 0; i < ev; i++) dv[j * dvr + i] = ${acc.zero};
  }
  for (int first = get_global_id(0) * ${QUERIES}; first < rows; first += get_global_size(0) * ${QUERIES}) {
    const int panels = min(${PANELS}, (rows - first + ${NR - 1}) / ${NR}), stop = causal ? min(keys, first + ${QUERIES}) : keys;
    ${stage_panels("q", "qt", "e", " * scale")}
    ${stage_panels("g", "gt", "ev")}
    ${stage_rows("q", "((%s *)qs)" % A, COLUMNS, "first", "rows", QUERIES, "e", "across_e", " * scale")}
    ${stage_rows("g", "((%s *)gs)" % A, COLUMNS, "first", "rows", QUERIES, "ev", "across_ev")}
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
% for half in whole.module.halves(VW):
      for (int i = 0; i < ${half}; i++) sums[i] += sums[i + ${half}];
% endfor
      mean[l] = sums[0];
    }
    for (int panel = 0; panel < panels; panel++)
      for (int j = 0; j < channels * ${NV}; j++) dt[panel * ${WIDTH * NV} + j] = (V)(${acc.zero});
    for (int j0 = 0; j0 < stop; j0 += ${KEYS}) {
      const int held = min(${KEYS}, stop - j0), filled = (held + ${MR - 1}) / ${MR} * ${MR};
      ${stage_rows("k", "kb", WIDTH, "j0", "stop", "filled", "e", "channels")}
      ${stage_rows("v", "vb", CAP, "j0", "stop", "filled", "ev", "ev")}
      for (int panel = 0; panel < panels; panel++) {
        V *const weight = p + panel * ${HEIGHT * NV}, *const change = d + panel * ${HEIGHT * NV};
        ${scores("weight", WIDTH)}
        seen[panel] = n;
        ${product("high", "ev", f"vb + r * {CAP}", lambda i: f"x[{i * CAP} + i]", f"gt + panel * {CAP * NV}",
                  lambda i, j: f"change[(r + {i}) * {NV} + {j}] = c{i}_{j}")}
        ${A} *const t = (${A} *)change;
        const ${A} *const log_sum = norm + panel * ${NR}, *const middle = mean + panel * ${NR};
        for (int j = 0; j < high; j++)
          for (int l = 0; l < ${NR}; l++) {
            const ${A} w = ${exp}(s[j * ${NR} + l] - log_sum[l]);
            s[j * ${NR} + l] = w;
            t[j * ${NR} + l] = w * (t[j * ${NR} + l] - middle[l]);
          }
        V *const out = dt + panel * ${WIDTH * NV};
        ${product("channels", "n", "kb + r", lambda i: f"x[i * {WIDTH} + {i}]", "change", lambda i, j: f"out[(r + {i}) * {NV} + {j}] += c{i}_{j}")}
      }
      ${collect("p", "gs", "ev", "dv", "dvr")}
      ${collect("d", "qs", "e", "dk", "dkr")}
    }
    for (int l = 0; l < min(${QUERIES}, rows - first); l++) {
      const ${A} *const from = (${A} *)dt + l / ${NR} * ${WIDTH * NR} + l % ${NR};
      __global ${dtype.storage} *const to = dq + (first + l) * dqr;
      for (int c = 0; c < e; c++) ${dtype.store("to", "c", f"from[c * {NR}] * scale")};
    }
  }
}
% endif
