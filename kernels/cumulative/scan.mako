<%doc>
Running results along the middle dim of a contiguous (outer, n, inner) tensor: cumsum, cumprod, cummax, cummin, logcumsumexp, and the
linear recurrence s[k] = x[k] + factor[k] * s[k - 1]. Tasks: outer * chunks (inner 1), or outer * tiles * chunks.

kind      sum: with the rounding errors carried along; value: by `combine` over a (earlier) and b; pair: value and index, b replaces a
          where `combine` holds; affine: the recurrence, its elements are (factor, x)
columns   False: inner is 1. True: inner > 1, lanes run over it
reverse   from the last element to the first
stage     totals: only each chunk's result, into t0 and t1; scan: with chunks > 1 it starts from the totals of the chunks before
wide      a work-item scans chunks; in rows by blocks of 32 that start from nothing, so that they overlap in the processor. Whole blocks of a real sum
          are four vectors, each scanned in three steps: an addition of itself moved by 1, 2 and 4 places
grid      rows: a work-group a chunk, ITEMS elements a work-item, and a scan in local memory; columns: a work-item a column
Called by ops/scan.py.
</%doc>
<%! TUNABLES = dict(TILE=(512, 512, (128, 256, 512, 1024)), ITEMS=(4, 4, (2, 4, 8)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%! from cltorch.codegen.expression import translate %>
<%
  fields = dict(sum=("a", "low"), value=("a",), pair=("a", "i"), affine=("f", "a"))[kind]
  types = dict(a=acc.c, low=acc.c, f=acc.c, i="uint")
  first, last = ("0", "-1") if reverse else ("0", "1")
  vectors = kind == "sum" and not acc.is_complex  # their additions are plain ones of vectors
  start = getattr(acc, identity) if isinstance(identity, str) else acc.lit(identity)
%>
## the index first: Mesa's rusticl loses a member that follows padding
typedef struct { ${" ".join(f"{types[f]} {f};" for f in sorted(fields, key="i".__ne__))} } acc_t;

static inline acc_t acc_none(void) {
% if kind == "pair":
  return (acc_t){0xffffffffu, ${start}};
% elif kind == "affine":
  return (acc_t){${acc.one}, ${acc.zero}};
% elif kind == "sum":
  return (acc_t){${acc.zero}, ${acc.zero}};
% else:
  return (acc_t){${start}};
% endif
}

static inline acc_t acc_merge(const acc_t p, const acc_t q) {
% if kind == "sum":
  const ${acc.c} sum = p.a + q.a, back = sum - p.a;
  return (acc_t){sum, p.low + q.low + ((p.a - (sum - back)) + (q.a - back))};
% elif kind == "pair":
  const ${acc.c} a = p.a, b = q.a;
  const int take = (q.i != 0xffffffffu) & ((p.i == 0xffffffffu) | (${translate(combine, acc)}));
  return (acc_t){take ? q.i : p.i, take ? b : a};
% elif kind == "affine":
  return (acc_t){mul_${acc.s}(p.f, q.f), mul_${acc.s}(q.f, p.a) + q.a};
% else:
  const ${acc.c} a = p.a, b = q.a;
  return (acc_t){${translate(combine, acc)}};
% endif
}

## a sum that became infinite has NaN for its rounding errors
<%def name="value_of(r)"><% return f"({r}.low == {r}.low ? {r}.a + {r}.low : {r}.a)" if kind == "sum" else f"{r}.a" %></%def>

## the accumulator `target` of the element that lies at `at` and comes as the k-th
<%def name="element(target, at, k)"><%
  value = acc.cast(dtype, dtype.load("data", f"offset + {at}"))
  parts = dict(sum=f"{value}, {acc.zero}", value=value, pair=f"{k}, {value}",
               affine=f"{acc.cast(dtype, dtype.load('factor', f'factor_offset + {at}'))}, {value}")
  return f"const acc_t {target} = {{{parts[kind]}}};"
%></%def>

<%def name="store(r, at)">
% if stage == "scan":
        ${out.store("o0", at, out.cast(acc, value_of(r)))};
%   if kind == "pair":
        o1[${at}] = (long)${"n - 1 - " if reverse else ""}${r}.i;
%   endif
% endif
</%def>

<%def name="total(slot)"><% return "((acc_t){" + ", ".join(f".{f} = t{k}[{slot}]" for k, f in enumerate(fields)) + "})" %></%def>

<%def name="keep(r, slot)">
% if stage == "totals":
%   for k, f in enumerate(fields):
    t${k}[${slot}] = ${r}.${f};
%   endfor
% endif
</%def>

<%
  memory = [f"__global const {dtype.storage} *restrict data"]
  numbers = ["offset"]
  if kind == "affine":
      memory.append(f"__global const {dtype.storage} *restrict factor")
      numbers.append("factor_offset")
  if stage == "scan":
      memory.append(f"__global {out.storage} *restrict o0")
      if kind == "pair":
          memory.append("__global long *restrict o1")
  memory += [f"__global {types[f]} *restrict t{k}" for k, f in enumerate(fields)]
  numbers += ["outer", "n", "inner", "chunks", "per"]
  def place(k):
      return f"n - 1 - ({k})" if reverse else f"({k})"
  def in_block(j):
      return f"(31 - {j})" if reverse else j
%>
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void scan(${", ".join(memory)}, ${", ".join(f"const uint {name}" for name in numbers)})
{
% if not columns:
%   if wide:
  const uint tasks = outer * chunks, share = tasks / get_num_groups(0), extra = tasks % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
  for (uint task = start; task < stop; task++) {
    const uint s = task % chunks, base = task / chunks * n, lo = s * per, hi = min(n, lo + per);
    acc_t carry = acc_none();
%     if stage == "scan":
    for (uint k = task - s; k < task; k++) carry = acc_merge(carry, ${total("k")});
%     endif
    uint from = lo;
%     if vectors:
    for (; hi - from >= 32; from += 32) {
      const size_t first = base + ${"(n - 32 - from)" if reverse else "from"};
      ${acc.c}8 part[4];
      ${acc.c} *const x = (${acc.c} *)part;
      ${acc.c} sum = ${acc.zero};
      for (uint j = 0; j < 32; j++) {
        ${element("e", f"first + {in_block('j')}", "j")}
        x[j] = e.a;
      }
      #pragma unroll
      for (uint j = 0; j < 4; j++) {
        ${acc.c}8 v = part[j];
%       for by in (1, 2, 4):
        v += (${acc.c}8)(${", ".join([acc.zero] * by + [f"v.s{k}" for k in range(8 - by)])});
%       endfor
        part[j] = v + sum;
        sum += v.s7;
      }
%       if stage == "scan":
      for (uint j = 0; j < 32; j++) {
        const acc_t r = acc_merge(carry, (acc_t){x[j], ${acc.zero}});
        ${store("r", f"first + {in_block('j')}")}
      }
%       endif
      carry = acc_merge(carry, (acc_t){sum, ${acc.zero}});
    }
%     endif
    for (; from < hi; from += 32) {
      const uint to = min(hi, from + 32);
      acc_t near = acc_none();
      for (uint k = from; k < to; k++) {
        const uint at = base + ${place("k")};
        ${element("e", "at", "k")}
%     if kind == "sum":
        near.a += e.a;
%     else:
        near = acc_merge(near, e);
%     endif
        const acc_t r = acc_merge(carry, near);
        ${store("r", "at")}
      }
      carry = acc_merge(carry, near);
    }
    ${keep("carry", "task")}
  }
%   else:
  const uint tasks = outer * chunks, lid = get_local_id(0);
  __local acc_t lds[${WG}];
  for (uint task = get_group_id(0); task < tasks; task += get_num_groups(0)) {
    const uint s = task % chunks, base = task / chunks * n, lo = s * per, hi = min(n, lo + per);
    acc_t carry = acc_none();
%     if stage == "scan":
    for (uint k = task - s; k < task; k++) carry = acc_merge(carry, ${total("k")});
%     endif
    for (uint from = lo; from < hi; from += ${WG * ITEMS}) {
      acc_t mine[${ITEMS}], near = acc_none();
      for (uint j = 0; j < ${ITEMS}; j++) {
        const uint k = from + lid * ${ITEMS} + j;
        if (k < hi) {
          ${element("e", f"base + {place('k')}", "k")}
          near = acc_merge(near, e);
        }
        mine[j] = near;
      }
      lds[lid] = near;
      barrier(CLK_LOCAL_MEM_FENCE);
      for (uint gap = 1; gap < ${WG}; gap *= 2) {
        const acc_t earlier = lds[lid >= gap ? lid - gap : lid];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lid >= gap) lds[lid] = acc_merge(earlier, lds[lid]);
        barrier(CLK_LOCAL_MEM_FENCE);
      }
      const acc_t before = lid ? acc_merge(carry, lds[lid - 1]) : carry;
      for (uint j = 0; j < ${ITEMS}; j++) {
        const uint k = from + lid * ${ITEMS} + j, at = base + ${place("k")};
        if (k < hi) {
          const acc_t r = acc_merge(before, mine[j]);
          ${store("r", "at")}
        }
      }
      carry = acc_merge(carry, lds[${WG} - 1]);
      barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lid == 0) {
      ${keep("carry", "task")}
    }
  }
%   endif
% else:
%   if wide:
  const uint tiles = (inner + ${TILE} - 1) / ${TILE}, tasks = outer * tiles * chunks;
  const uint share = tasks / get_num_groups(0), extra = tasks % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
%     for f in fields:
  ${types[f]} ${f}_[${TILE}];
%     endfor
  for (uint task = start; task < stop; task++) {
    const uint s = task % chunks, tile = task / chunks % tiles, o = task / chunks / tiles;
    const uint c0 = tile * ${TILE}, width = min(inner - c0, ${TILE}u), base = o * n * inner + c0;
    const uint lo = s * per, hi = min(n, lo + per);
    for (uint l = 0; l < width; l++) {
      acc_t carry = acc_none();
%     if stage == "scan":
      const uint row = (o * inner + c0 + l) * chunks;
      for (uint k = row; k < row + s; k++) carry = acc_merge(carry, ${total("k")});
%     endif
%     for f in fields:
      ${f}_[l] = carry.${f};
%     endfor
    }
    for (uint k = lo; k < hi; k++) {
      const uint from = base + (${place("k")}) * inner;
      for (uint l = 0; l < width; l++) {
        const uint at = from + l;
        ${element("e", "at", "k")}
        const acc_t r = acc_merge((acc_t){${", ".join(f".{f} = {f}_[l]" for f in fields)}}, e);
%     for f in fields:
        ${f}_[l] = r.${f};
%     endfor
        ${store("r", "at")}
      }
    }
%     if stage == "totals":
    for (uint l = 0; l < width; l++) {
      const acc_t r = {${", ".join(f".{f} = {f}_[l]" for f in fields)}};
      ${keep("r", "(o * inner + c0 + l) * chunks + s")}
    }
%     endif
  }
%   else:
  const uint tasks = outer * inner * chunks;
  for (uint task = get_global_id(0); task < tasks; task += get_global_size(0)) {
    const uint c = task % inner, s = task / inner % chunks, o = task / inner / chunks;
    const uint lo = s * per, hi = min(n, lo + per), base = o * n * inner + c, row = (o * inner + c) * chunks;
    acc_t r = acc_none();
%     if stage == "scan":
    for (uint k = row; k < row + s; k++) r = acc_merge(r, ${total("k")});
%     endif
    for (uint k = lo; k < hi; k++) {
      const uint at = base + (${place("k")}) * inner;
      ${element("e", "at", "k")}
      r = acc_merge(r, e);
      ${store("r", "at")}
    }
    ${keep("r", "row + s")}
  }
%   endif
% endif
}
