"""The terminal's tables: a line for each case and contestant, 120 columns at most; goals with what limits them, 160."""
from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from .bounds import Finding, is_reached, remark, same_processor
from .case import Mode
from .results import UNKNOWN, Row, Run, Shares, human_rate, human_ratio, human_seconds, speedups

WIDTH, GOALS_WIDTH = 120, 160
LEGEND = ('Percents are of what the copy and the cases of LIMITS reached in the same rounds as the row; "at most" is the ratio at 100 %. "host calls":\n'
          'the time until the calls had returned, with what runs in the calling thread.')
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
             f"{'':14}" + "".join(f"{suite:>13}" for suite in suites)]
    for label in labels:
        cells = [means.get((suite, label)) for suite in suites]
        lines.append(f"{label[:14]:14}" + "".join(f"{human_ratio(cell[0]):>8} {f'({cell[1]})':>4}" if cell else f"{'':>13}" for cell in cells))
    return "\n".join(lines)


def goal_table(run: Run, ours: Mapping[str, Any], rival: Mapping[str, Any], tried: Mapping[tuple[str, str, str], str]) -> str:
    """A line for each goal: our time, the rival's, the ratio, the goal, and where it isn't reached the limit that was measured in its rounds;
    then how many are reached, and what was tried for the others."""
    timed = {(row.key, row.contestant): row for row in run.rows if row.note != UNKNOWN}
    pairs = [(row, timed.get((row.key, rival["label"]))) for row in run.rows if (row.goal or row.limit) and row.contestant == ours["label"]
             and (row.mode == Mode.START.name or (row.key, rival["label"]) in timed)]
    found = [remark(mine, other, same_processor(ours, rival)) for mine, other in pairs]
    lines = [f"GOALS: the time of {rival['label']} over ours ({ours['label']})",
             f"{'':41} {'ours':>6} {'spread':>6} {'rival':>6} {'spread':>6} {'ratio':>8} {'goal':>7}"]
    lines += [goal_line(mine, other, what.text) for (mine, other), what in zip(pairs, found, strict=True)]
    return "\n".join([*lines, "", *tally(pairs, found), *attempts(pairs, found, tried)]) + "\n"


def goal_line(mine: Row, other: Row | None, limit: str) -> str:
    title = f"{mine.title[:41]:41}"
    note = mine.note or (other.note if other else "")
    if note:
        return f"{title} {note}"[:GOALS_WIDTH]
    wanted = f"{mine.goal:g} x" if mine.goal else f"< {human_seconds(mine.limit)}"
    times = " ".join(f"{human_seconds(row.median):>7} {100 * row.spread:>3.0f} %" if row else " " * 13 for row in (mine, other))
    return f"{title} {times} {human_ratio(other.median / mine.median) if other else '':>8} {wanted:>7}{f'  below: {limit}' if limit else ''}"


def tally(pairs: Sequence[tuple[Row, Row | None]], found: Sequence[Finding]) -> list[str]:
    """How many goals are reached, and how many of the others no program could reach on this device."""
    reached = sum(is_reached(mine, other) for mine, other in pairs)
    beyond = sum(bool(what.text) and 0 < what.most < mine.goal for (mine, _), what in zip(pairs, found, strict=True))
    near = sum(bool(what.text) and what.most > 0 for what in found)
    text = f"{reached} of {len(pairs)} goals are reached."
    text += f" {near} of the others are near a limit; {beyond} of these would miss their goals even at 100 % of it." if near else ""
    return [text, *([LEGEND] if any(what.text for what in found) else [])]


def attempts(pairs: Sequence[tuple[Row, Row | None]], found: Sequence[Finding], tried: Mapping[tuple[str, str, str], str]) -> list[str]:
    """For each kind of rows below their goals, what was tried."""
    names: dict[str, list[str]] = {}
    for (mine, _), what in zip(pairs, found, strict=True):
        if what.text and tried.get(mine.key):
            names.setdefault(tried[mine.key], []).append(mine.title)
    lines = [textwrap.fill(f"{'; '.join(titles)}: {text}", GOALS_WIDTH, subsequent_indent="    ") for text, titles in names.items()]
    return ["", "WHAT WAS TRIED for rows below their goals", *lines] if lines else []
