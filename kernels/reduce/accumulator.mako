<%doc>
What a reduction carries from element to element, written once for rows.mako, columns.mako and merge.mako.

kind      value: one number, joined by the expression `combine` over a (earlier) and b (later), `identity` to start
          pair: a number and its index; b replaces a where `combine` holds, of equal ones the lower index stays
          moments: count, mean, sum of squared deviations (Welford adds one element, Chan's formula joins two), all of them of
          v - shift, where shift is the output's first element: far from zero no digits are lost
dtype     of the elements, or what computes them (codegen/fusion.py: Computed); mapped: type of the expression `map` over x; acc: type the number is carried in
outputs   (dtype, expression) each: over a and n (value), a and the word index (pair), mean, m2 and n (moments), and the scalars
scalars   names of call-time numbers, arguments of acc's real type
partial   the raw accumulators are written for merge.mako instead of outputs
</%doc>
<%!
import re
from cltorch.codegen.expression import translate
%>

## one-line texts: the value of element `at` (held: of an array that was filled before) as `target`; the starting value; parameters
<%def name="element(target, at, held=False)"><%
  value = acc.cast(mapped, translate(map, dtype))
  return f"{given(map)}const {dtype.c} x = {f'held[{at}]' if held else dtype.load('data', at)}; const {acc.c} {target} = {value};"
%></%def>

<%def name="given(expression)"><%
  used = [s for s in scalars if re.search(rf"\b{s}\b", expression)]
  return "".join(f"const {acc.real.c} {s} = ({acc.real.c})arg_{s}; " for s in used)
%></%def>

<%def name="start()"><% return getattr(acc, identity) if isinstance(identity, str) else acc.lit(identity) %></%def>

<%def name="results()"><%
  if partial:
      return f"__global {acc.c} *restrict p0, __global {'uint' if kind == 'pair' else acc.c} *restrict p1"
  return ", ".join(f"__global {t.storage} *restrict o{k}" for k, (t, _) in enumerate(outputs))
%></%def>

<%def name="numbers()"><% return "".join(f", const {acc.real.kernel_scalar} arg_{scalar}" for scalar in scalars) %></%def>

<%def name="dims(prefix, rank, out)"><%
  names = [f"{prefix}{letter}{d}" for d in range(rank) for letter in ("nso" if out else "ns")]
  return "".join(f", const uint {name}" for name in names)
%></%def>

<%def name="declare()">
% if kind == "value":
typedef struct { ${acc.c} a; } acc_t;
#define ACC_ONE(value, at) ((acc_t){value})
% elif kind == "pair":
## the index first: Mesa's rusticl loses a member that follows padding
typedef struct { uint i; ${acc.c} a; } acc_t;
#define ACC_ONE(value, at) ((acc_t){at, value})
static inline int replaces(const ${acc.c} a, const ${acc.c} b) { return ${translate(combine, acc)}; }
% else:
typedef struct { ${acc.c} mean, m2, n; } acc_t;
#define ACC_ONE(value, at) ((acc_t){value, 0, 1})
% endif

static inline acc_t acc_none(void) {
% if kind == "value":
  return (acc_t){${start()}};
% elif kind == "pair":
  return (acc_t){0xffffffffu, ${start()}};
% else:
  return (acc_t){0, 0, 0};
% endif
}

static inline acc_t acc_merge(const acc_t p, const acc_t q) {
% if kind == "value":
  const ${acc.c} a = p.a, b = q.a;
  return (acc_t){${translate(combine, acc)}};
% elif kind == "pair":
  const int take = replaces(p.a, q.a) | (!replaces(q.a, p.a) & (q.i < p.i));
  return (acc_t){take ? q.i : p.i, take ? q.a : p.a};
% else:
  const ${acc.c} n = p.n + q.n, share = n > 0 ? q.n / n : 0, delta = q.mean - p.mean;
  return (acc_t){p.n > 0 ? p.mean + delta * share : q.mean, p.m2 + q.m2 + (p.n > 0 ? delta * delta * p.n * share : 0), n};
% endif
}

static inline acc_t acc_add(const acc_t p, const ${acc.c} value, const uint at) {
% if kind == "moments":
  const ${acc.c} n = p.n + 1, delta = value - p.mean, mean = p.mean + delta / n;
  return (acc_t){mean, p.m2 + delta * (value - mean), n};
% else:
  return acc_merge(p, ACC_ONE(value, at));
% endif
}
</%def>

## `shift` of the output whose first element lies at `at`, where `valid`
<%def name="shift(at, valid='1')">
% if kind == "moments":
    ${acc.c} shift = 0;
    if (${valid}) { ${element("v", at)} shift = v; }
% endif
</%def>

## writes accumulator r: raw at `slot`, or finished at `place`, where `count` elements were reduced
<%def name="write(r, place, slot, count)">
% if partial:
      p0[${slot}] = ${r}.${"mean" if kind == "moments" else "a"};
%   if kind != "value":
      p1[${slot}] = ${r}.${"m2" if kind == "moments" else "i"};
%   endif
% else:
      {
%   if kind == "moments":
        const ${acc.c} mean = ${r}.mean + shift, m2 = ${r}.m2, n = (${acc.c})${count};
%   else:
        const ${acc.c} a = ${r}.a;
        const ${acc.real.c} n = (${acc.real.c})${count};
%   endif
%   for k, (t, finish) in enumerate(outputs):
%     if finish == "index":
        o${k}[${place}] = (long)${r}.i;
%     else:
        { ${given(finish)}${t.store(f"o{k}", place, t.cast(acc, translate(finish, acc)))}; }
%     endif
%   endfor
      }
% endif
</%def>

## offset of flattened index `at` over `rank` dims (d0 runs slowest) with sizes <p>n, strides <p>s; appends out strides where asked
<%def name="unravel(at, prefix, rank, offset, place='')">
      {
        uint rest = ${at};
% for d in range(rank - 1, -1, -1):
%   if d:
        { const uint c = rest % ${prefix}n${d}; rest /= ${prefix}n${d}; ${offset} += c * ${prefix}s${d}; ${f"{place} += c * {prefix}o{d};" if place else ""} }
%   else:
        ${offset} += rest * ${prefix}s0; ${f"{place} += rest * {prefix}o0;" if place else ""}
%   endif
% endfor
      }
</%def>

## tree over `width` work-items (a power of two) with distance `step` in lds; leaves the result in the lowest
<%def name="tree(width, step, lane)">
    lds[lid] = r;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint gap = ${width} / 2; gap > 0; gap /= 2) {
      if (${lane} < gap) lds[lid] = acc_merge(lds[lid], lds[lid + gap * ${step}]);
      barrier(CLK_LOCAL_MEM_FENCE);
    }
</%def>
