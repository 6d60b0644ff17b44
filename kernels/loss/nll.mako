<%doc>
Negative log likelihood over classes. Scores are (outer, classes, inner), targets (outer, inner): item i = (o, s), o = i / inner.

pick     loss[i] = -w * x[o, t, s], share[i] = w, with t = target[i] and w = weight[t] (1 without weights); both 0 where t == ignore
spread   grad[o, t, s] = -w * g[i], and 0 elsewhere (one work-item writes all classes of an item): the gradient of pick
A target outside [0, classes) gives NaN in loss and is reported as in indexing/address.mako, with dimension -1.
Called by ops/loss.py.
</%doc>
<%def name="target()">
    const long t = target[i];
    const int used = t != ignore;
    const int inside = t >= 0 && t < classes;
    const ${dtype.c} w = used && inside ? ${dtype.load("weight", "t") if weighted else dtype.one} : ${dtype.zero};
    const uint o = i / inner, s = i - o * inner;
</%def>
% for entry in ("pick", "spread"):
__kernel ${"__attribute__((reqd_work_group_size(1, 1, 1)))" if wide else ""}
void ${entry}(__global ${dtype.storage} *restrict out, __global ${dtype.storage} *restrict share, volatile __global int *flags,
              __global const ${dtype.storage} *restrict x, __global const long *restrict target,
              __global const ${dtype.storage} *restrict weight, const uint n, const uint inner, const int classes, const long ignore)
{
% if wide:
  const uint per = (n + get_num_groups(0) - 1) / get_num_groups(0);
  const uint lo = get_group_id(0) * per, hi = lo + per < n ? lo + per : n;
  for (uint i = lo; i < hi; i++) {
% else:
  for (uint i = get_global_id(0); i < n; i += get_global_size(0)) {
% endif
${target()}
% if entry == "pick":
    if (used && !inside && atomic_cmpxchg(flags, 0, 1) == 0) {
      flags[1] = -1;
      flags[2] = classes;
      flags[3] = (int)t;
      flags[4] = (int)(t >> 32);
    }
    const ${dtype.c} value = used && inside ? -w * ${dtype.load("x", "(o * classes + (uint)t) * inner + s")} : ${dtype.zero};
    ${dtype.store("out", "i", f"used && !inside ? ({dtype.c})NAN : value")};
    ${dtype.store("share", "i", "w")};
% else:
    const ${dtype.c} value = -w * ${dtype.load("x", "i")};
    for (int c = 0; c < classes; c++) {
      ${dtype.store("out", "(o * classes + c) * inner + s", f"used && inside && c == t ? value : {dtype.zero}")};
    }
% endif
  }
}
% endfor
