<%doc>
Layer normalisation of the rows of a contiguous (rows, n) tensor, and its gradients. w and b: scale and shift of each place, or none.

stage     forward: o0 = (x - mean) * rstd * w + b, and mean, rstd of each row
          backward: from the gradient g, o0 = dx; with w, wide also adds up slot s's rows of p0[s] = dw, p1[s] = db
          places (grid): p0 and p1 only, a work-item a place and slot
wide      a work-item a range of rows (backward: a slot of rows); sums in lanes
grid      `threads` work-items (a power of two) a row, trees in local memory
Sums are of x - x[0], so that no digits are lost far from zero. Called by ops/layer_norm.py.
</%doc>
<%! TUNABLES = dict(LANES=(32, 32, (16, 32, 64)), WG=(1, 256, (1, 32, 64, 128, 256))) %>
<%namespace name="row" file="row.mako"/>
<%
  A = acc.c
  chained = dtype.chained  # what a chain computes is written to kept, because the gradient will need it, and read from there
  def x_first(at): return acc.cast(dtype, dtype.load("x", f"x_offset + {at}"))
  def x_at(at): return acc.cast(dtype, dtype.decode(f"kept[{at}]")) if chained else x_first(at)
  def look(at): return f"const {A} v = {x_first(at)};" + (f" {dtype.store('kept', at, dtype.cast(acc, 'v'))};" if chained else "")
  def g_at(at): return acc.cast(dtype, dtype.load("g", f"g_offset + {at}"))
  def w_at(j): return acc.cast(affine, affine.load("w", f"w_offset + {j}")) if scaled else acc.one
  def b_at(j): return acc.cast(affine, affine.load("b", f"b_offset + {j}")) if shifted else acc.zero
  def put(at, value): return dtype.store("o0", at, dtype.cast(acc, value)) + ";"
  normal = f"({x_at('at')} - mean) * rstd"
  inputs = ["x"] + ([] if stage == "forward" else ["g"]) + (["w"] if scaled else []) + (["b"] if shifted else [])
  types = dict(x=dtype, g=dtype, w=affine, b=affine)
  arguments = [a for name in inputs for a in (types[name].parameters(name), f"const uint {name}_offset")]
  if chained:
      arguments.insert(1, f"__global {dtype.storage} *restrict kept")
  if stage != "places":
      arguments.insert(0, f"__global {dtype.storage} *restrict o0")
  kept = "" if stage == "forward" else "const "
  arguments += [f"__global {kept}{A} *restrict means", f"__global {kept}{A} *restrict rstds"]
  if stage == "forward":
      arguments.append(f"const {acc.kernel_scalar} eps")
  elif scaled and (wide or stage == "places"):
      arguments += [f"__global {A} *restrict p0", f"__global {A} *restrict p1"]
  arguments += ["const uint rows", "const uint n", "const uint slots", "const uint threads"]
%>
${dtype.definition("x")}
__kernel __attribute__((reqd_work_group_size(${WG}, 1, 1)))
void layer(${", ".join(arguments)})
{
% if stage == "places":
  for (uint task = get_global_id(0); task < n * slots; task += get_global_size(0)) {
    const uint j = task % n, slot = task / n, per = (rows + slots - 1) / slots, stop = min(rows, slot * per + per);
    ${A} dw = 0, db = 0;
    for (uint line = slot * per; line < stop; line++) {
      const uint at = line * n + j;
      const ${A} mean = means[line], rstd = rstds[line], v = ${g_at("at")};
      dw += v * (${normal});
      db += v;
    }
    p0[slot * n + j] = dw;
    p1[slot * n + j] = db;
  }
% elif wide:
%   if stage == "forward":
  const uint share = rows / get_num_groups(0), extra = rows % get_num_groups(0), g = get_group_id(0);
  const uint start = g * share + min(g, extra), stop = start + share + (g < extra);
  const ${A} part = 1 / (${A})n;
  for (uint line = start; line < stop; line++) {
    const uint base = line * n;
    const ${A} origin = ${x_first("base")};
    ${row.over(A, LANES, dict(sum=("0", "a + b")), f"{look('at')} sum_[l] = v - origin;")}
    const ${A} near = sum * part;
    ${row.over(A, LANES, dict(rest=("0", "a + b"), squares=("0", "a + b")),
               f"const {A} d = {x_at('at')} - origin - near; rest_[l] = d; squares_[l] = d * d;")}
    const ${A} more = rest * part, shift = near + more, m2 = squares - rest * more;
    const ${A} rstd = rsqrt_${acc.s}((m2 > 0 ? m2 : 0) * part + eps);
    ${row.vectors(A, True, 2)}
    for (uint j = 0; j < n; j++) {
      const size_t at = (size_t)base + j;
      ${put("at", f"({x_at('at')} - origin - shift) * rstd * {w_at('j')} + {b_at('j')}" if scaled or shifted else f"({x_at('at')} - origin - shift) * rstd")}
    }
    means[line] = origin + shift;
    rstds[line] = rstd;
  }
%   else:
  const uint per = (rows + slots - 1) / slots;
  const ${A} part = 1 / (${A})n;
  for (uint slot = get_group_id(0); slot < slots; slot += get_num_groups(0)) {
%     if scaled:
    __global ${A} *restrict dw = p0 + slot * n, *restrict db = p1 + slot * n;
    for (uint j = 0; j < n; j++) dw[j] = db[j] = 0;
%     endif
    const uint stop = min(rows, slot * per + per);
    for (uint line = slot * per; line < stop; line++) {
      const uint base = line * n;
      const ${A} mean = means[line], rstd = rstds[line];
      ${row.over(A, LANES, dict(direct=("0", "a + b"), along=("0", "a + b")),
                 f"const {A} v = {g_at('at')} * {w_at('(at - base)')}; direct_[l] = v; along_[l] = v * ({normal});")}
      const ${A} c1 = direct * part, c2 = along * part;
      ${row.vectors(A, True, 2)}
      for (uint j = 0; j < n; j++) {
        const size_t at = (size_t)base + j;
        const ${A} h = ${normal}, v = ${g_at("at")};
        ${put("at", f"rstd * (v * {w_at('j')} - c1 - h * c2)")}
%     if scaled:
        dw[j] += v * h;
        db[j] += v;
%     endif
      }
    }
  }
%   endif
% else:
  __local ${A} lds[${WG}];
  const uint lid = get_local_id(0), lane = lid & (threads - 1), together = ${WG} / threads;
  for (uint first = get_group_id(0) * together; first < rows; first += get_num_groups(0) * together) {
    const uint line = first + lid / threads, base = line * n, end = line < rows ? n : 0;
%   if stage == "forward":
    const ${A} origin = end ? ${x_first("base")} : 0;
    ${A} sum = 0, rest = 0, squares = 0;
    for (uint j = lane; j < end; j += threads) { ${look("base + j")} sum += v - origin; }
    ${row.tree(A, "sum", "a + b")}
    const ${A} near = sum / n;
    for (uint j = lane; j < end; j += threads) { const ${A} d = ${x_at("base + j")} - origin - near; rest += d; squares += d * d; }
    ${row.tree(A, "rest", "a + b")}
    ${row.tree(A, "squares", "a + b")}
    const ${A} shift = near + rest / n, m2 = squares - rest * (rest / n);
    const ${A} rstd = rsqrt_${acc.s}((m2 > 0 ? m2 : 0) / n + eps);
    for (uint j = lane; j < end; j += threads) {
      const uint at = base + j;
      ${put("at", f"({x_at('at')} - origin - shift) * rstd * {w_at('j')} + {b_at('j')}")}
    }
    if (lane == 0 && end) { means[line] = origin + shift; rstds[line] = rstd; }
%   else:
    const ${A} mean = end ? means[line] : 0, rstd = end ? rstds[line] : 0;
    ${A} direct = 0, along = 0;
    for (uint j = lane; j < end; j += threads) {
      const uint at = base + j;
      const ${A} v = ${g_at("at")} * ${w_at("j")};
      direct += v;
      along += v * (${normal});
    }
    ${row.tree(A, "direct", "a + b")}
    ${row.tree(A, "along", "a + b")}
    for (uint j = lane; j < end; j += threads) {
      const uint at = base + j;
      ${put("at", f"rstd * ({g_at('at')} * {w_at('j')} - direct / n - {normal} * (along / n))")}
    }
%   endif
  }
% endif
}
