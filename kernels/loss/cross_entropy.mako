<%doc>
Cross entropy of scores x (outer, n classes, inner) with class indices target (outer, inner), without the probabilities in memory.
Item i = (o, s) has base o * n * inner + s. With w the class weights (1 without), W their sum, e the smoothing and p = exp(x - lse):
    loss[i] = (1 - e) * w[t] * (lse - x[t]) + e / n * sum of w * (lse - x)          0 where t == ignore
    dx[i, c] = g * ((1 - e) * w[t] * (p[c] - (c == t)) + e / n * (p[c] * W - w[c]))

stage     forward: lse of each item; each: loss of each item. Otherwise group k writes p0[2 k] = sum of losses and p0[2 k + 1] = sum of
          w[t], or, where it is the only one, finishes
          finish: loss[0] = their sum, where mean over the sum of w[t], which total[0] receives
          backward: dx from the losses' gradient g
columns   False: inner is 1. True: inner > 1, in wide lanes run over it
wide      a work-item a range of items; grid: rows: `threads` work-items (a power of two) an item; columns: one
A target outside the classes gives NaN and is reported in flags as in indexing/address.mako, with dimension -1.
Called by ops/cross_entropy.py.
</%doc>
<%! TUNABLES = dict(LANES=(32, 32, (16, 32, 64)), TILE=(128, 128, (64, 128, 256)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%namespace name="row" file="/norm/row.mako"/>
<%
  A = acc.c
  exp, log, greatest = f"exp_{acc.s}", f"log_{acc.s}", f"max_{acc.s}"
  def x_at(at): return acc.cast(dtype, dtype.load("x", f"x_offset + {at}"))
  def w_at(c): return acc.cast(dtype, dtype.load("w", f"w_offset + {c}")) if weighted else acc.one
  def incoming(i):
      value = acc.cast(dtype, dtype.load("g", f"g_offset + {i}" if each else "g_offset"))
      return value if each else f"{value} / (mean ? total[0] : {acc.one})"
  def put(name, at, value): return dtype.store(name, at, dtype.cast(acc, value)) + ";"
  scores = [f"__global const {dtype.storage} *restrict x", "const uint x_offset", "__global const long *restrict target", "const uint target_offset"]
  scores += [f"__global const {dtype.storage} *restrict w", "const uint w_offset"] if weighted else []
  sizes = ["const uint outer", "const uint n", "const uint inner", "const uint threads", "const long ignore", f"const {acc.kernel_scalar} e", "const int mean"]
  lse = [f"__global {'' if stage == 'forward' else 'const '}{A} *restrict lse"]
  sums = [f"__global {A} *restrict p0", f"__global {A} *restrict total"]
  arguments = dict(
      forward=[f"__global {dtype.storage} *restrict loss", *lse, *sums, "volatile __global int *flags", *scores, *sizes],
      finish=[f"__global {dtype.storage} *restrict loss", *sums, "const uint parts", "const int mean"],
      backward=[f"__global {dtype.storage} *restrict dx", *lse, f"__global const {A} *restrict total", f"__global const {dtype.storage} *restrict g",
                "const uint g_offset", *scores, *sizes])[stage]
%>
## from the total of losses `sum` and of weights `share`
<%def name="finish()">
    ${put("loss", "0", "mean ? sum / share : sum")}
    total[0] = share;
</%def>

## t, whether it counts and is a class, and the item's weight
<%def name="target_of(i)">
    const long t = target[target_offset + ${i}];
    const int used = t != ignore, inside = t >= 0 && t < (long)n;
    const ${A} weight = used && inside ? ${w_at("t")} : 0;
</%def>

## item i's loss from its top, sum of exp(x - top), and with smoothing `mixed`, the sum of w * (x - top)
<%def name="loss_of(i, base)">
    ${target_of(i)}
    const ${A} spread = ${log}(sum);
    lse[${i}] = top + spread;
    ${A} value = used && inside ? (1 - e) * weight * (spread + (top - ${x_at(f"{base} + (uint)t * inner")})) : 0;
% if smooth:
    value += used ? e / n * (all * spread - mixed) : 0;
% endif
    if (used && !inside) {
      value = NAN;
      if (atomic_cmpxchg(flags, 0, 1) == 0) {
        flags[1] = -1;
        flags[2] = (int)n;
        flags[3] = (int)t;
        flags[4] = (int)(t >> 32);
      }
    }
</%def>

## the sum of all weights, `all`
<%def name="all_weights()">
% if smooth:
  ${A} all = ${"0" if weighted else f"({A})n"};
%   if weighted:
  for (uint c = 0; c < n; c++) all += ${w_at("c")};
%   endif
% endif
</%def>

<%def name="slope(value)"><%
  rest = f" + p * (e / n * all) - e / n * {w_at('c')}" if smooth else ""
  return f"scale * (p * ((1 - e) * weight){rest})" if smooth else f"scale * weight * p"
%></%def>

__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void cross_entropy(${", ".join(arguments)})
{
% if stage == "finish":
%   if wide:
  ${A} sum = 0, share = 0;
  for (uint k = 0; k < parts; k++) { sum += p0[2 * k]; share += p0[2 * k + 1]; }
  ${finish()}
%   else:
  __local ${A} lds[${WG}];
  const uint lid = get_local_id(0), lane = lid, threads = ${WG};
  ${A} sum = 0, share = 0;
  for (uint k = lid; k < parts; k += ${WG}) { sum += p0[2 * k]; share += p0[2 * k + 1]; }
  ${row.tree(A, "sum", "a + b")}
  ${row.tree(A, "share", "a + b")}
  if (lid == 0) {
    ${finish()}
  }
%   endif
% elif wide:
  const uint lines = outer * ${f"((inner + {TILE} - 1) / {TILE})" if columns else "1"};
  const uint part = lines / get_num_groups(0), extra = lines % get_num_groups(0), group = get_group_id(0);
  const uint start = group * part + min(group, extra), stop = start + part + (group < extra);
  ${all_weights()}
  ${A} losses = 0, weights = 0, some = 0, few = 0;
%   if columns:
  const uint tiles = (inner + ${TILE} - 1) / ${TILE};
  ${A} top_[${TILE}], sum_[${TILE}]${f", mixed_[{TILE}]" if smooth else ""};
%   endif
  for (uint line = start; line < stop; line++) {
%   if not columns:
    const uint base = line * n;
%     if stage == "forward":
    ${row.over(A, LANES, dict(top=(acc.lowest, row.module.GREATEST)),
               f"const {A} v = {x_at('at')}; top_[l] = v;", True)}
%       if smooth:
    ${row.over(A, LANES, dict(sum=("0", "a + b"), mixed=("0", "a + b")),
               f"const {A} d = {x_at('at')} - top; sum_[l] = {exp}(d); mixed_[l] = {w_at('(at - base)')} * d;", True)}
%       else:
    ${row.over(A, LANES, dict(sum=("0", "a + b")), f"sum_[l] = {exp}({x_at('at')} - top);", True)}
%       endif
    ${loss_of("line", "base")}
%       if each:
    ${put("loss", "line", "value")}
%       else:
    some += value;
    few += weight;
%       endif
%     else:
    ${target_of("line")}
    const ${A} mine = lse[line], scale = used ? ${incoming("line")} : 0;
    ${row.vectors(A, True, 4)}
    for (uint c = 0; c < n; c++) {
      const size_t at = (size_t)base + c;
      const ${A} p = ${exp}(${x_at("at")} - mine);
      ${put("dx", "at", slope("p"))}
    }
    if (used && inside) {
      const uint c = (uint)t, at = base + c;
      const ${A} p = ${exp}(${x_at("at")} - mine);
      ${put("dx", "at", f"{slope('p')} - scale * ((1 - e) * weight)")}
    }
%     endif
%   else:
    const uint o = line / tiles, c0 = line % tiles * ${TILE}, width = min(inner - c0, ${TILE}u), first = o * n * inner + c0, item = o * inner + c0;
%     if stage == "forward":
    for (uint l = 0; l < width; l++) { top_[l] = ${acc.lowest}; sum_[l] = 0; ${"mixed_[l] = 0;" if smooth else ""} }
    for (uint c = 0; c < n; c++)
      for (uint l = 0; l < width; l++) { const ${A} v = ${x_at("first + c * inner + l")}; top_[l] = ((v > top_[l]) | (v != v)) ? v : top_[l]; }
    for (uint c = 0; c < n; c++)
      for (uint l = 0; l < width; l++) {
        const ${A} d = ${x_at("first + c * inner + l")} - top_[l];
        sum_[l] += ${exp}(d);
%       if smooth:
        mixed_[l] += ${w_at("c")} * d;
%       endif
      }
    for (uint l = 0; l < width; l++) {
      const ${A} top = top_[l], sum = sum_[l]${", mixed = mixed_[l]" if smooth else ""};
      ${loss_of("(item + l)", "first + l")}
%       if each:
      ${put("loss", "item + l", "value")}
%       else:
      some += value;
      few += weight;
%       endif
    }
%     else:
    for (uint c = 0; c < n; c++)
      for (uint l = 0; l < width; l++) {
        ${target_of("item + l")}
        const ${A} scale = used ? ${incoming("item + l")} : 0;
        const uint at = first + c * inner + l;
        const ${A} p = ${exp}(${x_at("at")} - lse[item + l]);
        ${put("dx", "at", f"{slope('p')} - (t == (long)c ? scale * ((1 - e) * weight) : 0)")}
      }
%     endif
%   endif
    if (((line - start) & 63) == 63 || line + 1 == stop) { losses += some; weights += few; some = few = 0; }
  }
%   if stage == "forward" and not each:
  if (get_num_groups(0) == 1) {
    const ${A} sum = losses, share = weights;
    ${finish()}
  } else {
    p0[2 * group] = losses;
    p0[2 * group + 1] = weights;
  }
%   endif
% else:
  __local ${A} lds[${WG}];
  const uint lid = get_local_id(0);
  ${all_weights()}
  ${A} losses = 0, weights = 0;
  const uint items = outer * inner, lane = lid & (threads - 1), together = ${WG} / threads;
  for (uint leader = get_group_id(0) * together; leader < items; leader += get_num_groups(0) * together) {
    const uint i = leader + lid / threads, here = i < items, end = here ? n : 0, base = i / inner * n * inner + i % inner;
%   if stage == "forward":
    ${A} top = ${acc.lowest}, sum = 0${", mixed = 0" if smooth else ""};
    for (uint c = lane; c < end; c += threads) { const ${A} v = ${x_at("base + c * inner")}; top = ((v > top) | (v != v)) ? v : top; }
    ${row.tree(A, "top", f"{greatest}(a, b)")}
    for (uint c = lane; c < end; c += threads) {
      const ${A} d = ${x_at("base + c * inner")} - top;
      sum += ${exp}(d);
%     if smooth:
      mixed += ${w_at("c")} * d;
%     endif
    }
    ${row.tree(A, "sum", "a + b")}
%     if smooth:
    ${row.tree(A, "mixed", "a + b")}
%     endif
    if (here && lane == 0) {
      ${loss_of("i", "base")}
%     if each:
      ${put("loss", "i", "value")}
%     else:
      losses += value;
      weights += weight;
%     endif
    }
%   else:
    if (here) {
      ${target_of("i")}
      const ${A} mine = lse[i], scale = used ? ${incoming("i")} : 0;
      for (uint c = lane; c < n; c += threads) {
        const uint at = base + c * inner;
        const ${A} p = ${exp}(${x_at("at")} - mine);
        ${put("dx", "at", f"{slope('p')} - (t == (long)c ? scale * ((1 - e) * weight) : 0)")}
      }
    }
%   endif
  }
%   if stage == "forward" and not each:
  {
    const uint threads = ${WG}, lane = lid;
    ${A} sum = losses, share = weights;
    ${row.tree(A, "sum", "a + b")}
    ${row.tree(A, "share", "a + b")}
    if (lid == 0 && get_num_groups(0) == 1) {
      ${finish()}
    } else if (lid == 0) {
      p0[2 * get_group_id(0)] = sum;
      p0[2 * get_group_id(0) + 1] = share;
    }
  }
%   endif
% endif
}
