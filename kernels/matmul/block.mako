<%doc>
Blocks of a matrix product for strategy grid, shared by the templates of matmul/ and conv/: only defs, no kernel.

A work-group of (TN / RN, TM / RM) items owns TM rows by TN columns of sums, RM by RN in each item, TM / RM rows and TN
/ RN columns apart. Slices of TK along k pass through local memory in arithmetic form: (TM + TN + 2) * TK elements.
</%doc>
<%def name="locals(t, TM, TN, TK, RM, RN)">
  __local ${t.c} la[${TK * (TM + 1)}], lb[${TK * (TN + 1)}];
  ${places(t, TM, TN, RM, RN)}
</%def>

<%def name="places(t, TM, TN, RM, RN)">
  const int lx = get_local_id(0), ly = get_local_id(1), item = ly * ${TN // RN} + lx;
  const int row0 = get_group_id(1) * ${TM}, column0 = get_group_id(0) * ${TN};
% for p in range(RM):
  ${t.c} ${", ".join(f"s{p}_{q} = {t.zero}" for q in range(RN))};
% endfor
</%def>

## Copies a slice into local memory. value(i, k): the text that reads element (i, k), with its own bounds; along_k: the
## C condition that neighbours
## in memory are neighbours along k (it decides which items read which elements, nothing else).
<%def name="slice(target, T, TK, items, first, k0, along_k, value)">
    for (int e = item; e < ${T * TK}; e += ${items}) {
      const int i = ${along_k} ? e / ${TK} : e % ${T}, h = ${along_k} ? e % ${TK} : e / ${T};
      ${target}[h * ${T + 1} + i] = ${value(f"({first} + i)", f"({k0} + h)")};
    }
</%def>

<%def name="multiply(t, TM, TN, TK, RM, RN)">
    for (int h = 0; h < ${TK}; h++) {
% for p in range(RM):
      const ${t.c} a${p} = la[h * ${TM + 1} + ly + ${p * (TM // RM)}];
% endfor
% for q in range(RN):
      const ${t.c} b${q} = lb[h * ${TN + 1} + lx + ${q * (TN // RN)}];
% endfor
${add(t, RM, RN)}
    }
</%def>

<%def name="add(t, RM, RN)">
% for p in range(RM):
% for q in range(RN):
      s${p}_${q} = mad_${t.s}(a${p}, b${q}, s${p}_${q});
% endfor
% endfor
</%def>

## The whole sum over k; a(i, k) and b(j, k) read the operands' elements.
<%def name="sums(t, TM, TN, TK, RM, RN, k, a, b, a_along_k, b_along_k)">
  ${locals(t, TM, TN, TK, RM, RN)}
  for (int k0 = 0; k0 < ${k}; k0 += ${TK}) {
    ${slice("la", TM, TK, TM // RM * (TN // RN), "row0", "k0", a_along_k, a)}
    ${slice("lb", TN, TK, TM // RM * (TN // RN), "column0", "k0", b_along_k, b)}
    barrier(CLK_LOCAL_MEM_FENCE);
    ${multiply(t, TM, TN, TK, RM, RN)}
    barrier(CLK_LOCAL_MEM_FENCE);
  }
</%def>

## The same without local memory and barriers: each item reads what it multiplies, which its neighbours find in the caches. a(i, k) and b(j, k) are of
## m rows and n columns, and read without bounds: items beyond the edges repeat the last row and column.
<%def name="sums_in_registers(t, TM, TN, RM, RN, k, m, n, a, b)">
  ${places(t, TM, TN, RM, RN)}
% for p in range(RM):
  const int i${p} = min(row0 + ly + ${p * (TM // RM)}, ${m} - 1);
% endfor
% for q in range(RN):
  const int j${q} = min(column0 + lx + ${q * (TN // RN)}, ${n} - 1);
% endfor
  for (int h = 0; h < ${k}; h++) {
% for p in range(RM):
      const ${t.c} a${p} = ${a(f"i{p}", "h")};
% endfor
% for q in range(RN):
      const ${t.c} b${q} = ${b(f"j{q}", "h")};
% endfor
${add(t, RM, RN)}
  }
</%def>

## Runs ``body`` (a caller's block with the variables row, column and v) for each sum of this item that lies in m by n.
<%def name="each(t, TM, TN, RM, RN, m, n)">
% for p in range(RM):
% for q in range(RN):
  {
    const int row = row0 + ly + ${p * (TM // RM)}, column = column0 + lx + ${q * (TN // RN)};
    if (row < ${m} && column < ${n}) {
      ${t.c} v = s${p}_${q};
      ${caller.body()}
    }
  }
% endfor
% endfor
</%def>
