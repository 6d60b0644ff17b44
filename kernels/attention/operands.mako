<%doc>
What attention's fused kernels (panel.mako, block.mako) have in common: only defs, no kernel. Operands are read through strides: row, column and three
batch dimensions, z = (z0 * n1 + z1) * n2 + z2. Results have neighbouring columns.
</%doc>
<%!
def strides(name, parts="orc012"):
    return ", ".join(f"const long {name}{part}" for part in parts)
%>
<%def name="operand(t, name)">__global const ${t.storage} *restrict ${name}, ${strides(name)}</%def>
<%def name="result(t, name, kept='')">__global ${kept} ${t.storage} *restrict ${name}, ${strides(name, "or012")}</%def>
## Parameters that every kernel ends with.
<%def name="parameters(t, mask, dropout)">
  ${operand(t, "q")}, ${operand(t, "k")}, ${operand(t, "v")},
% if mask is not None:
  ${operand(mask, "mask")},
% endif
<% drawn = ["const ulong seed", "const ulong offset", "const uint limit", *t.acc.scalar_parameters("share")] if dropout else [] %>
  const int rows, const int keys, const int e, const int ev, const int n1, const int n2, ${", ".join([*t.acc.scalar_parameters("scale"), "const int causal", *drawn])}\
</%def>
## Four words of the seed's stream, for the weights of a query and of keys 4 * quad to 4 * quad + 3: as dropout takes them for a contiguous
## (batches, rows, keys), with keys rounded up to a multiple of 4.
<%def name="words(query, quad)">philox_at(seed, 0, offset + ((ulong)z * rows + ${query}) * ((keys + 3) / 4) + ${quad})</%def>
## Moves the pointers of operands and results to batch z.
<%def name="begin(mask, more, results)">
  const long z2 = z % n2, z1 = z / n2 % n1, z0 = z / n2 / n1;
% for name in ("q", "k", "v", *more, *(() if mask is None else ("mask",))):
  ${name} += ${name}o + z0 * ${name}0 + z1 * ${name}1 + z2 * ${name}2;
% endfor
% for name in results:
  ${name} += ${name}o + z0 * ${name}0 + z1 * ${name}1 + z2 * ${name}2;
% endfor
</%def>
## The mask's part in a score, times a factor where scores are.
<%def name="hide(acc, mask, score, query, key, factor='')">
% if mask is not None:
<% at = f"{query} * maskr + {key} * maskc" %>
% if mask.is_bool:
        ${score} = mask[${at}] ? ${score} : ${acc.lowest};
% else:
        ${score} += ${acc.cast(mask, mask.load("mask", at))}${factor};
% endif
% endif
</%def>
