"""One self-contained HTML page, with its plots also as PNG files beside it, that compares the runs of bench.py."""
from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mako.template import Template
from matplotlib.figure import Figure

from . import plots
from .bounds import is_reached, remark, same_processor
from .results import UNKNOWN, Row, Run, Shares, cases, human_rate, human_ratio, human_seconds, load, rivals_of, speedups

TITLES = {
    "limits": "Limits: what the devices can do at most, by kernels that do nothing else",
    "launch": "Overheads: what one small call costs the host, and how long until its result is there",
    "memory": "Memory: bandwidth, as a share of the contestant's own copy (one read, one write)",
    "gemm": "Matrix products: by size and type, as a share of the contestant's best in that type",
    "bmm": "Batches of small matrix products",
    "ops": "Operators of neural networks",
    "train": "Training: whole steps, forward, backward and optimizer",
    "goals": "Goals: what we want to reach against a rival on the same processor",
}


def write(files: Sequence[Path | Run], out: Path) -> Path:
    """Write the page and its plots. ValueError where a file is no result of bench.py or no row has a time."""
    runs = [(given, "this run") if isinstance(given, Run) else (load(Path(given)), Path(given).stem) for given in files]
    people, rows, names = merge(runs)
    if not any(row.seconds for row in rows):
        raise ValueError("nothing was measured: every row failed or was left out")
    out.parent.mkdir(parents=True, exist_ok=True)
    pictures = {name: png(figure) for name, figure in plots.figures(rows, names).items()}
    for name, data in pictures.items():
        out.with_name(f"{out.stem}-{name}.png").write_bytes(data)
    template = Template(filename=str(Path(__file__).with_name("page.mako")), default_filters=["str", "h"], strict_undefined=True)
    embedded = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    out.write_text(template.render(people=people, runs=runs, suites=suites(rows, names, goals(runs)), pictures=embedded, names=names, missing=missing(runs),
                                   means=speedups(rows, names[0]), ratio=human_ratio, style=plots.Style(names)), encoding="utf-8")
    return out


def png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", facecolor="white")
    return target.getvalue()


def merge(runs: Sequence[tuple[Run, str]]) -> tuple[list[dict[str, Any]], list[Row], list[str]]:
    """Contestants of all runs under names that are unique on the page, the rows under those names, and the names."""
    people = [{**who, "run": run, "file": stem, "shown": display(who)} for run, stem in runs for who in run.contestants]
    for field in ("file", "label"):
        count = Counter(who["shown"] for who in people)
        for who in people:
            who["shown"] += f" ({who[field]})" if count[who["shown"]] > 1 else ""
    new = {(id(who["run"]), who["label"]): who["shown"] for who in people}
    rows = [Row(**{**vars(row), "contestant": new[id(run), row.contestant]}) for run, _ in runs for row in run.rows]
    return people, rows, list(dict.fromkeys(who["shown"] for who in people))


def display(who: dict[str, Any]) -> str:
    """What a person calls it: the device and its driver, or the rival and what it runs on."""
    if "driver" not in who:
        return tidy(who["label"]) + f" {who['version']}"
    place = " on cpu tensors" if who["label"] == "cpu" else ""
    platform = {"Portable Computing Language": "PoCL"}.get(who["platform"], who["platform"])
    return f"{tidy(who['name'])}, {tidy(platform)} {who['driver'].split(' ')[0]}{place}"


def tidy(name: str) -> str:
    name = re.sub(r"^(pthread|cpu)-([a-z0-9-]+-(?=[A-Z]))?", "", name)  # PoCL's names say how it runs and what it compiles for
    for noise in ("(R)", "(TM)", " Processor", " CPU", "Intel OpenCL "):
        name = name.replace(noise, "")
    return " ".join(name.split())


def suites(rows: Sequence[Row], names: Sequence[str], wanted: Mapping[tuple[str, str, str], list[tuple[str, str]]]) -> list[dict[str, Any]]:
    """For each suite its title and a table: (case, a cell for each contestant, what is said of its goal)."""
    shares, table = Shares(rows), {(row.key, row.contestant): row for row in rows}
    out = []
    for suite in dict.fromkeys(row.suite for row in rows):
        lines = []
        for key in cases(row for row in rows if row.suite == suite):
            mine = [table.get((key, name)) for name in names]
            best = min((row.median for row in mine if row and row.seconds), default=0.0)
            title = next(row.title for row in mine if row)
            lines.append((title, [cell(row, shares, best) for row in mine], wanted.get(key, [])))
        out.append({"name": suite, "title": TITLES.get(suite, suite), "lines": lines, "goals": any(line[2] for line in lines)})
    return out


def goals(runs: Sequence[tuple[Run, str]]) -> dict[tuple[str, str, str], list[tuple[str, str]]]:
    """For each case with a goal what each run's first device reached of it against each rival, and what limits it."""
    out: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for run, stem in runs:
        ours = run.contestants[0]
        table = {(row.key, row.contestant): row for row in run.rows if row.seconds}
        mine = [row for row in run.rows if row.contestant == ours["label"] and row.seconds and (row.goal or row.limit)]
        for row, rival in ((row, rival) for row in mine for rival in rivals_of(run) if (row.key, rival["label"]) in table):
            other, wanted = table[row.key, rival["label"]], f"{row.goal:g} x" if row.goal else f"below {human_seconds(row.limit)}"
            ratio, where = human_ratio(other.median / row.median), f"{rival['label']} over {ours['label']}" + (f", {stem}" if len(runs) > 1 else "")
            reached = "reached" if is_reached(row, other) else f"not reached: {remark(row, other, same_processor(ours, rival)).text}"
            out.setdefault(row.key, []).append((f"{ratio} ({wanted})", f"{reached} ({where})"))
    return out


def cell(row: Row | None, shares: Shares, best: float) -> dict[str, str]:
    """The figure to compare, what else is known of it, and how to show it."""
    if row is None or row.note == UNKNOWN:
        return {"main": "", "more": "", "kind": "none"}
    if not row.seconds:
        return {"main": "left out" if row.note.startswith("left out") else "failed", "more": row.note, "kind": "failed"}
    share = shares.of(row)
    unit = row.rate[1]
    facts = [human_seconds(row.median)] if unit != "calls/s" else []
    facts += [f"{share[0]:.0f} % of its {share[1]}"] if share else []
    facts += [f"± {50 * row.spread:.0f} %", row.note]
    return {"main": human_seconds(row.median) if unit == "calls/s" else human_rate(row.rate), "more": ", ".join(fact for fact in facts if fact),
            "kind": "best" if row.median == best else "time"}


def missing(runs: Sequence[tuple[Run, str]]) -> list[str]:
    return [f"{name} in {stem}: {why}" for run, stem in runs for name, why in run.missing.items()]
