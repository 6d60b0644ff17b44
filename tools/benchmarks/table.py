"""The terminal's table: a line for each case and contestant, 120 columns at most."""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby

from .results import UNKNOWN, Row, Run, Shares, human_rate, human_ratio, human_seconds, speedups

WIDTH = 120
HEAD = f"{'':41} {'':14} {'median':>9} {'spread':>7} {'rate':>15} {'share':>12} {'against':>9}"


def suite_table(suite: str, rows: Sequence[Row], base: str) -> str:
    """One suite's rows. ``share`` is of the contestant's own copy or best product, ``against`` is base's time over its time."""
    mine = [row for row in rows if row.suite == suite]
    shares = Shares(rows)
    lines = [f"{suite.upper()}", HEAD]
    for _, group in groupby(mine, key=lambda row: row.key):
        same = [row for row in group if row.note != UNKNOWN]
        if len(same) > 1 and same[0].note and len({row.note for row in same}) == 1:
            same = [dataclasses.replace(same[0], contestant="all")]
        reference = next((row.median for row in same if row.contestant == base and row.seconds), 0.0)
        lines += [line(row, row.title if i == 0 else "", shares, reference) for i, row in enumerate(same)]
    return "\n".join(lines) + "\n"


def line(row: Row, title: str, shares: Shares, reference: float) -> str:
    start = f"{title[:41]:41} {row.contestant[:14]:14}"
    if row.note:
        return f"{start} {row.note}"[:WIDTH]
    share = shares.of(row)
    percent = f"{share[0]:.0f} % {share[1]}" if share else ""
    rate = "" if row.rate[1] == "calls/s" else human_rate(row.rate)
    ratio = human_ratio(reference / row.median) if reference else ""
    return f"{start} {human_seconds(row.median):>9} {100 * row.spread:>5.0f} % {rate:>15} {percent:>12} {ratio:>9}".rstrip()


def summary(run: Run, base: str) -> str:
    """How fast each contestant is against the first: geometric means over the cases that both ran."""
    means = speedups(run.rows, base)
    suites = list(dict.fromkeys(row.suite for row in run.rows))
    labels = [who["label"] for who in run.contestants]
    lines = [f"SPEED AGAINST {base}: geometric mean of time ratios, cases in brackets; above 1 is faster",
             f"{'':20}" + "".join(f"{suite:>14}" for suite in suites)]
    for label in labels:
        cells = [means.get((suite, label)) for suite in suites]
        lines.append(f"{label[:20]:20}" + "".join(f"{human_ratio(cell[0]):>9} {f'({cell[1]})':>4}" if cell else f"{'':>14}" for cell in cells))
    return "\n".join(lines)
