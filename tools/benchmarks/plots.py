"""The page's pictures, as matplotlib figures. Colours and marks are a contestant's, the same in each."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .results import Row, cases, human_ratio, human_seconds, speedups

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#6B6B6B")  # Okabe and Ito's, told apart by all
MARKS = "osD^vPX*"
TIMED = ("launch", "ops", "bmm", "limits", "goals")  # plotted by time: their rates have different units


class Style:
    """Colour and mark of each contestant, in the order of the page."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def colour(self, name: str) -> str:
        return COLOURS[self.names.index(name) % len(COLOURS)]

    def mark(self, name: str) -> str:
        return MARKS[(self.names.index(name) + self.names.index(name) // len(MARKS)) % len(MARKS)]


def figures(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Figure]:
    """A figure for the summary, where there is something to compare, and one for each suite that has any time."""
    timed, style = [row for row in rows if row.seconds], Style(names)
    out = {"summary": summary(timed, style)} if len({row.contestant for row in timed}) > 1 else {}
    for suite in dict.fromkeys(row.suite for row in timed):
        mine = [row for row in timed if row.suite == suite]
        out[suite] = {"gemm": curves, "train": steps}.get(suite, dots)(mine, style)
    return out


def new(height: float, columns: int = 1, sharey: bool = False) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(10, height), layout="constrained", dpi=140)
    return figure, list(figure.subplots(1, columns, squeeze=False, sharey=sharey)[0])


def whiskers(figures: Sequence[tuple[float, float, float]]) -> tuple[list[float], list[float]]:
    """Distances for error bars from (one quartile, the median, the other)."""
    return [median - min(a, b) for a, median, b in figures], [max(a, b) - median for a, median, b in figures]


def finish(figure: Figure, axes: Sequence[Any], style: Style) -> Figure:
    """Quiet axes, and one legend above all of them, in the page's order."""
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="both", color="#dddddd", linewidth=0.7)
        ax.set_axisbelow(True)
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    shown = [name for name in style.names if name in found]
    figure.legend([found[name] for name in shown], shown, loc="outside upper center", ncols=min(3, len(found)), frameon=False, fontsize=9)
    return figure


def summary(rows: Sequence[Row], style: Style) -> Figure:
    """Geometric mean speed of each suite against the first contestant, on a logarithmic axis."""
    means, suites = speedups(rows, style.names[0]), list(dict.fromkeys(row.suite for row in rows))
    others = style.names[1:]
    figure, (ax,) = new(1.2 + 0.18 * len(suites) * (len(others) + 1))
    height = 0.8 / max(1, len(others))
    for i, name in enumerate(others):
        places = [(y, means[suite, name][0]) for y, suite in enumerate(suites) if (suite, name) in means]
        ys = [y + height * (i - (len(others) - 1) / 2) for y, _ in places]
        bars = ax.barh(ys, [value - 1 for _, value in places], height * 0.9, left=1, color=style.colour(name), label=name)
        for bar, (_, value) in zip(bars, places, strict=True):
            ax.annotate(human_ratio(value), (value, bar.get_y() + bar.get_height() / 2), (4 if value >= 1 else -4, 0), textcoords="offset points",
                        va="center", ha="left" if value >= 1 else "right", fontsize=8)
    ax.axvline(1, color="black", linewidth=1)
    logarithmic(ax, lambda value, _: f"{value:g} x")
    ax.margins(x=0.12)
    ax.set_yticks(range(len(suites)), suites)
    ax.invert_yaxis()
    ax.set_xlabel(f"speed against {style.names[0]} (right of 1 is faster)")
    return finish(figure, [ax], style)


def logarithmic(ax: Any, text: Any) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(text))
    ax.xaxis.set_minor_formatter(NullFormatter())


def marks(row: Row, timed: bool) -> tuple[float, float, float]:
    """(quartile, median, quartile) as a time or a rate."""
    low, high = row.quartiles
    return (low, row.median, high) if timed else (row.rate_at(low)[0], row.rate[0], row.rate_at(high)[0])


def dots(rows: Sequence[Row], style: Style) -> Figure:
    """A line for each case, a mark for each contestant: by time where rates differ in unit, else by rate. Whiskers are the quartiles."""
    keys, timed = cases(rows), rows[0].suite in TIMED
    figure, (ax,) = new(1.3 + 0.27 * len(keys))
    for name in style.names:
        mine = [row for row in rows if row.contestant == name]
        if mine:
            found = [marks(row, timed) for row in mine]
            ax.errorbar([median for _, median, _ in found], [keys.index(row.key) for row in mine], xerr=whiskers(found),
                        fmt=style.mark(name), color=style.colour(name), markersize=7, alpha=0.85, elinewidth=1, label=name)
    titles = {row.key: row.title for row in rows}
    ax.set_yticks(range(len(keys)), [titles[key] for key in keys], fontsize=9)
    ax.set_ylim(len(keys) - 0.4, -0.6)
    if timed:
        logarithmic(ax, lambda value, _: human_seconds(value))
        ax.set_xlabel("time of a call (left is faster)")
    else:
        ax.set_xlim(left=0)
        ax.set_xlabel(f"{rows[0].rate[1]} (right is faster)")
    return finish(figure, [ax], style)


def curves(rows: Sequence[Row], style: Style) -> Figure:
    """GFLOP/s of square products over their size, a panel for each dtype."""
    squares = [row for row in rows if round((row.flops / 2) ** (1 / 3)) ** 3 * 2 == round(row.flops)] or list(rows)
    dtypes = list(dict.fromkeys(row.dtype for row in squares))
    figure, axes = new(3.8, len(dtypes), sharey=True)
    for ax, d in zip(axes, dtypes, strict=True):
        for name in style.names:
            points = sorted((round((row.flops / 2) ** (1 / 3)), row.rate[0]) for row in squares if row.dtype == d and row.contestant == name)
            if points:
                ax.plot(*zip(*points, strict=True), marker=style.mark(name), color=style.colour(name), alpha=0.85, label=name)
        sizes = sorted({round((row.flops / 2) ** (1 / 3)) for row in squares if row.dtype == d})
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [str(size) for size in sizes], fontsize=8)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(bottom=0)
        ax.set_title(d, fontsize=10)
        ax.set_xlabel("n of n x n x n")
    axes[0].set_ylabel("GFLOP/s")
    return finish(figure, axes, style)


def steps(rows: Sequence[Row], style: Style) -> Figure:
    """Steps a second, a panel for each model: their scales differ."""
    keys = cases(rows)
    figure, axes = new(3.6, len(keys))
    for ax, key in zip(axes, keys, strict=True):
        mine = [row for row in rows if row.key == key]
        for row in mine:
            x, found = style.names.index(row.contestant), marks(row, False)
            ax.bar(x, found[1], 0.8, yerr=whiskers([found]), color=style.colour(row.contestant), ecolor="#444444", label=row.contestant)
            ax.annotate(f"{found[1]:.3g}", (x, max(found)), (0, 3), textcoords="offset points", ha="center", fontsize=9)
        ax.set_xticks([])
        ax.set_xlim(-0.7, len(style.names) - 0.3)
        ax.margins(y=0.15)
        ax.set_title(mine[0].case.replace(", ", "\n", 1), fontsize=9)
    axes[0].set_ylabel("training steps a second")
    return finish(figure, axes, style)
