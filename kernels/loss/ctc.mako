<%doc>
Connectionist temporal classification over log-probabilities lp (steps, batch, classes). Item b has `spans[b]` steps and the labels
labels[starts[b]] ..., `sizes[b]` of them; its states are blank, label, blank, ..., blank: 2 * size + 1.

stage     alpha: alpha[b, t, s] = log of the summed probability of the ways to state s at step t; nll[b] = -log of the sum at the end
          beta: the same backwards, in two rows of `beta`, and dlp[t, b, c] = (exp(lp) - exp(sum over states of c + nll - lp)) * g[b]
A work-group an item: a work-item alone in wide, a stride of states each in grid. `zero` turns infinite losses and their gradients to 0.
Called by ops/ctc.py.
</%doc>
<%! TUNABLES = dict(WG=(1, 64, (1, 32, 64))) %>
<%
  A = acc.c
  add = f"log_add_exp_{acc.s}"
  low = acc.lowest
  def lp_at(t, c): return acc.cast(dtype, dtype.load("lp", f"lp_offset + (({t}) * batch + b) * classes + {c}"))
  wait = "" if wide else "barrier(CLK_GLOBAL_MEM_FENCE);"
  shared = [f"__global const {dtype.storage} *restrict lp", "const uint lp_offset", "__global const long *restrict labels", "const uint labels_offset",
            "__global const long *restrict starts", "__global const long *restrict sizes", "__global const long *restrict spans"]
  numbers = ["const uint steps", "const uint batch", "const uint classes", "const uint states", "const int blank", "const int zero"]
  mine = [f"__global {A} *alpha", f"__global {A} *nll"]
  if stage == "beta":
      mine = [f"__global {dtype.storage} *dlp", f"__global const {A} *restrict alpha", f"__global const {A} *restrict nll", f"__global {A} *beta",
              f"__global {A} *sums", f"__global const {dtype.storage} *restrict g", "const uint g_offset"]
%>
static inline ${A} either(const ${A} a, const ${A} b) { return a == ${low} ? b : b == ${low} ? a : ${add}(a, b); }

__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void ctc(${", ".join(mine + shared + numbers)})
{
  const uint lid = get_local_id(0);
  for (uint b = get_group_id(0); b < batch; b += get_num_groups(0)) {
    const uint size = (uint)sizes[b], span = min((uint)spans[b], steps), last = 2 * size;
    __global const long *own = labels + labels_offset + starts[b];
#define LABEL(s) (((s) & 1) ? (uint)own[(s) / 2] : (uint)blank)
#define INSIDE(c) ((c) < classes ? (c) : 0)
% if stage == "alpha":
    __global ${A} *row = alpha + b * steps * states;
    for (uint s = lid; s <= last; s += ${WG}) row[s] = s < 2 && span ? ${lp_at("0", "INSIDE(LABEL(s))")} : ${low};
    for (uint t = 1; t < span; t++) {
      ${wait}
      __global const ${A} *before = row;
      row += states;
      for (uint s = lid; s <= last; s += ${WG}) {
        ${A} sum = s ? either(before[s], before[s - 1]) : before[s];
        if (s >= 2 && (s & 1) && LABEL(s) != LABEL(s - 2)) sum = either(sum, before[s - 2]);
        row[s] = sum == ${low} ? ${low} : sum + ${lp_at("t", "INSIDE(LABEL(s))")};
      }
    }
    ${wait}
    if (lid == 0) {
      const ${A} total = span == 0 ? (size ? ${low} : 0) : size ? either(row[last], row[last - 1]) : row[last];
      nll[b] = total == ${low} && zero ? 0 : -total;
    }
    ${wait}
% else:
    const ${A} loss = nll[b], scale = ${acc.cast(dtype, dtype.load("g", "g_offset + b"))};
    const int none = zero && (span == 0 || alpha[(b * steps + span - 1) * states + last] == ${low}) &&
                     (span == 0 || size == 0 || alpha[(b * steps + span - 1) * states + last - 1] == ${low});
    for (uint t = span; t < steps; t++)
      for (uint c = lid; c < classes; c += ${WG}) { ${dtype.store("dlp", "(t * batch + b) * classes + c", dtype.cast(acc, acc.zero))}; }
    __global ${A} *sum = sums + b * classes;
    for (uint t = span; t-- > 0;) {
      __global ${A} *row = beta + (b * 2 + (t & 1)) * states;
      __global const ${A} *after = beta + (b * 2 + ((t + 1) & 1)) * states;
      for (uint s = lid; s <= last; s += ${WG}) {
        ${A} ways;
        if (t + 1 == span) ways = s + 1 >= last ? 0 : ${low};
        else {
          ways = s < last ? either(after[s], after[s + 1]) : after[s];
          if (s + 2 <= last && (s & 1) && LABEL(s) != LABEL(s + 2)) ways = either(ways, after[s + 2]);
        }
        row[s] = ways == ${low} ? ${low} : ways + ${lp_at("t", "INSIDE(LABEL(s))")};
      }
      for (uint c = lid; c < classes; c += ${WG}) sum[c] = ${low};
      ${wait}
      if (lid == 0)
        for (uint s = 0; s <= last; s++) {
          const ${A} here = alpha[(b * steps + t) * states + s], both = here == ${low} || row[s] == ${low} ? ${low} : here + row[s];
          const uint c = INSIDE(LABEL(s));
          sum[c] = either(sum[c], both);
        }
      ${wait}
      for (uint c = lid; c < classes; c += ${WG}) {
        const ${A} p = ${lp_at("t", "c")};
        const ${A} slope = none ? 0 : (exp_${acc.s}(p) - (sum[c] == ${low} ? 0 : exp_${acc.s}(sum[c] + loss - p))) * scale;
        ${dtype.store("dlp", "(t * batch + b) * classes + c", dtype.cast(acc, "slope"))};
      }
      ${wait}
    }
% endif
  }
}
