<%doc>
Attention without a matrix of scores, on devices with many small work-items and local memory (strategy grid): o = softmax(scale * q kᵀ + mask) v, and its
gradients; see matmul/block.mako. Operands, results, mask, causal and dropout as in panel.mako.

stage     forward: o and lse; a group takes BR queries and goes along the keys by BC with a running maximum and sum
          dq, dk, dv: one gradient from g, lse and delta, its weights computed again: a group takes BR queries (dk, dv: keys) and goes along the keys
          (queries) by BC. dk and dv are in sums' type
mask      its type, or None. CAP: e and ev are at most this; each item keeps its part of BR by CAP sums
TUNABLES: BR rows by BC columns of scores a group, RM by RN of them an item (BR / RM * BC / RN items), TK deep slices. Local memory:
TK * (BR + BC + 2) + 2 * BC * max(BR, BC) + 2 * BC + BR numbers, twice that in float64.
Called by ops/attention_launch.py.
</%doc>
<%!
TUNABLES = dict(
    BR=(32, 32, (8, 16, 32, 64)),
    BC=(32, 32, (8, 16, 32)),
    TK=(16, 16, (4, 8, 16)),
    RM=(4, 4, (1, 2, 4)),
    RN=(4, 4, (1, 2, 4)),
)
CONSTRAINTS = ("BR % RM == 0 and BC % (RM * RN) == 0", "BR // RM * (BC // RN) <= work_group",
               "(TK * (BR + BC + 2) + 2 * BC * max(BR, BC) + 2 * BC + BR) * 8 <= local_bytes")
%>
<%namespace name="block" file="/matmul/block.mako"/>
<%namespace name="operands" file="operands.mako"/>
<%
acc = dtype.acc
A, exp, log = acc.c, f"exp_{acc.s}", f"log_{acc.s}"
forward = stage == "forward"
by_key = stage in ("dk", "dv")
TX, TY = BC // RN, BR // RM
items, each = TX * TY, RM * RN  # each: columns of a row that an item turns to weights
CHUNKS = -(-CAP // BC)
cells = [(p, q) for p in range(RM) for q in range(RN)]
result = acc if by_key else dtype
down, along, rows_n, columns_n = ("k", "q", "keys", "rows") if by_key else ("q", "k", "rows", "keys")
values = dict(forward="v", dq="k", dk="q", dv="g")[stage]
channels = "wide_v" if values in "vg" else "wide_q"
def row_of(i): return f"(ly + {i} / {RN} * {TY})"
def column_of(i): return f"(lx + {i} % {RN} * {TX})"
finish = dict(forward=f" * fades[{row_of('i')}]", dv="").get(stage, " * scale")
def inside(i, count): return f"({i} < {count} ? {i} : {count} - 1)"
def read(name, row, height, channel, width):
    place = f"{inside(row, height)} * {name}r + {inside(channel, width)} * {name}c"
    return f"given({dtype.load(name, place)}, ({row} < {height}) & ({channel} < {width}))"
%>
## Scores' tile: the sum over h < width of one operand's rows times the other's, into s<p>_<q>.
<%def name="tile(down, along, width)">
% for p, q in cells:
    s${p}_${q} = ${acc.zero};
% endfor
    for (int h0 = 0; h0 < ${width}; h0 += ${TK}) {
      ${block.slice("la", BR, TK, items, "row0", "h0", f"{down}c == 1", lambda i, h: read(down, i, rows_n, h, width))}
      ${block.slice("lb", BC, TK, items, "column0", "h0", f"{along}c == 1", lambda i, h: read(along, i, columns_n, h, width))}
      barrier(CLK_LOCAL_MEM_FENCE);
      ${block.multiply(acc, BR, BC, TK, RM, RN)}
      barrier(CLK_LOCAL_MEM_FENCE);
    }
</%def>
## An item's scores as an array: what is done to each is a loop, not RM * RN copies of its text, which compilers for CPUs take seconds over.
<%def name="own()">
      const ${A} own[${each}] = {${", ".join(f"s{p}_{q}" for p, q in cells)}};
</%def>
## Dropout over the whole tile of weights, of which each item draws for every items-th four keys; ``drop`` is what becomes of one that is dropped.
<%def name="thin(drop, keep)">
<% weight = f"answers[c * {BR + 1} + r]" %>
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int four = item; four < ${BR * BC // 4}; four += ${items}) {
      const int line_ = four % ${BC if by_key else BR}, first = four / ${BC if by_key else BR} * 4;
      const uint4 word = ${operands.words("(column0 + line_)", "(row0 + first) / 4") if by_key else operands.words("(row0 + line_)", "(column0 + first) / 4")};
% for k, name in enumerate("xyzw"):
      {
        const int r = ${f"first + {k}" if by_key else "line_"}, c = ${"line_" if by_key else f"first + {k}"};
        const ${A} w = ${weight};
        ${weight} = word.${name} < limit ? ${drop} : ${keep};
      }
% endfor
    }
</%def>
## Reads are inside of the operands always and chosen from after: with branches between barriers PoCL's compiler takes ten seconds and more.
static inline ${A} given(${A} value, int there) { return there ? value : ${acc.zero}; }
__kernel __attribute__((reqd_work_group_size(${TX}, ${TY}, 1)))
void ${stage}(${operands.result(result, "to")},
% if forward:
  __global ${A} *restrict lse,
% else:
  ${operands.operand(dtype, "g")}, __global const ${A} *restrict lse, __global const ${A} *restrict delta,
% endif
${operands.parameters(dtype, mask, dropout)})
{
  __local ${A} la[${TK * (BR + 1)}], lb[${TK * (BC + 1)}], answers[${BC * (BR + 1)}], held[${BC * (BC + 1)}], fades[${BR}];
  const int lx = get_local_id(0), ly = get_local_id(1), item = ly * ${TX} + lx, row0 = get_group_id(0) * ${BR};
  const int wide_q = e, wide_v = ev;  // block.mako's loops count in e
  const long z = get_group_id(2);
  ${operands.begin(mask, () if forward else ("g",), ("to",))}
  ${A} ${", ".join(f"s{p}_{q}" for p, q in cells)}, sums[${CHUNKS * each}];
  for (int i = 0; i < ${CHUNKS * each}; i++) sums[i] = ${acc.zero};
% if forward:
  ${A} top = ${acc.lowest}, sum = ${acc.zero};
  const int line = item % ${BR}, part = item / ${BR} * ${each};
% endif
% if by_key:
  for (int column0 = causal ? row0 : 0; column0 < rows; column0 += ${BC}) {
% else:
  const int stop = causal ? min(keys, row0 + ${BR}) : keys;
  for (int column0 = 0; column0 < stop; column0 += ${BC}) {
% endif
    ${tile(down, along, "wide_q")}
    {
      ${own()}
      for (int i = 0; i < ${each}; i++) {
        const int r = ${row_of("i")}, c = ${column_of("i")}, query = ${"column0 + c" if by_key else "row0 + r"}, key = ${"row0 + r" if by_key else "column0 + c"};
        const int hidden = (query >= rows) | (key >= keys) | (causal & (key > query)), line_ = ${inside("query", "rows")}, key_ = ${inside("key", "keys")};
        ${A} s = own[i] * scale;
        ${operands.hide(acc, mask, "s", "line_", "key_")}
        s = hidden ? ${acc.lowest} : s;
% if not forward:
        s = ${exp}(s - lse[z * rows + line_]);
% endif
        answers[c * ${BR + 1} + r] = s;
      }
    }
% if forward:
    barrier(CLK_LOCAL_MEM_FENCE);
    ${A} most = top;
    for (int j = 0; j < ${BC}; j++) { const ${A} s = answers[j * ${BR + 1} + line]; most = s > most ? s : most; }
    barrier(CLK_LOCAL_MEM_FENCE);
    const ${A} base = most == ${acc.lowest} ? ${acc.zero} : most, fade = ${exp}(top - base);  // a row that sees nothing yet: no infinity minus infinity
    top = most;
    for (int j = part; j < part + ${each}; j++) answers[j * ${BR + 1} + line] = ${exp}(answers[j * ${BR + 1} + line] - base);
    if (part == 0) fades[line] = fade;
    barrier(CLK_LOCAL_MEM_FENCE);
    sum *= fade;
    for (int j = 0; j < ${BC}; j++) sum += answers[j * ${BR + 1} + line];
% if dropout:
    ${thin(acc.zero, "w * share")}
% endif
    for (int c = 0; c < ${CHUNKS}; c++) {
      for (int i = 0; i < ${each}; i++) sums[c * ${each} + i] *= fades[${row_of("i")}];
    }
% elif stage == "dv":
%   if dropout:
    ${thin(acc.zero, "w * share")}
%   endif
% else:
%   if dropout:
    ${thin("-w", "w")}
%   endif
    ${tile("v", "g", "wide_v") if by_key else tile("g", "v", "wide_v")}
    {
      ${own()}
      for (int i = 0; i < ${each}; i++) {
        const int r = ${row_of("i")}, c = ${column_of("i")}, query = ${"column0 + c" if by_key else "row0 + r"};
        const ${A} w = answers[c * ${BR + 1} + r], middle = delta[z * rows + ${inside("query", "rows")}];
% if dropout:
        answers[c * ${BR + 1} + r] = w > 0 ? w * (own[i] * share - middle) : w * middle;  // below 0: a weight that was dropped
% else:
        answers[c * ${BR + 1} + r] = w * (own[i] - middle);
% endif
      }
    }
% endif
    for (int c = 0; c < ${CHUNKS}; c++) {
      const int channel0 = c * ${BC};
      ${block.slice("held", BC, BC, items, "channel0", "column0", f"{values}r == 1",
                    lambda i, h: read(values, h, columns_n, i, channels))}
      barrier(CLK_LOCAL_MEM_FENCE);
      {
        __local const ${A} *const la = answers, *const lb = held;
        ${A} ${", ".join(f"s{p}_{q} = sums[c * {each} + {p * RN + q}]" for p, q in cells)};
        ${block.multiply(acc, BR, BC, BC, RM, RN)}
% for p, q in cells:
        sums[c * ${each} + ${p * RN + q}] = s${p}_${q};
% endfor
      }
      barrier(CLK_LOCAL_MEM_FENCE);
    }
  }
% if forward:
  if (part == 0) {
    fades[line] = sum == 0 ? ${acc.zero} : 1 / sum;
    if (row0 + line < rows) lse[z * rows + row0 + line] = sum == 0 ? INFINITY : top + ${log}(sum);
  }
  barrier(CLK_LOCAL_MEM_FENCE);
% endif
  for (int c = 0; c < ${CHUNKS}; c++)
    for (int i = 0; i < ${each}; i++) {
      const int row = row0 + ${row_of("i")}, channel = c * ${BC} + ${column_of("i")};
      if (row < ${rows_n} && channel < ${channels})
        ${result.store("to", "row * tor + channel", f"sums[c * {each} + i]" + finish)};
    }
}
