"""The picture of the results: how many times as fast as each peer ours is, with the goals."""

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The key of the PNG's metadata with the sha256 of the figures that it shows.
SOURCE = "Source"
_COLOURS = {True: "#2a7f3f", False: "#b3312c", None: "#5b6b7b"}
_SAYS = {True: "every goal of the row met", False: "not every goal met", None: "no goal"}
_ROW_INCHES, _HEAD_INCHES, _WIDTH_INCHES, _DPI = 0.27, 1.3, 10.0, 110


@dataclass(frozen=True)
class Bar:
    """One peer of one row.

    Attributes:
        label: the row, its size and the peer.
        times: how many times as fast ours is; below 1, it is slower.
        goal: how many times as fast it should be, if there is a goal.
        met: whether the row reached its goals; None if it has none.
    """

    label: str
    times: float
    goal: float | None
    met: bool | None


def bars(records: Sequence[dict[str, Any]]) -> list[Bar]:
    """Return one bar per row and peer, in the order of the rows."""
    result = []
    for record in records:
        # Of a rate, more is better.
        is_rate = "/s" in record["unit"]
        for peer, value in record["beside"].items():
            ratio = record["ours"] / value
            times = ratio if is_rate else 1 / ratio
            label = f"{record['name']} ({_short(record['size'])})  |  {peer}"
            result.append(Bar(label, times, _goal(record["goals"], times), record["met"]))
    return result


def _short(size: str, most: int = 40) -> str:
    return size if len(size) <= most else f"{size[: most - 1].rstrip(' ,')}…"


def _goal(goals: Sequence[dict[str, Any]], times: float) -> float | None:
    """Return the bound of the goal about this ratio, whichever way round it is written."""
    for goal in goals:
        value, bound = goal["value"], goal["bound"]
        if not value or not bound:
            continue
        if math.isclose(value, times, rel_tol=1e-9):
            return float(bound)
        if math.isclose(value, 1 / times, rel_tol=1e-9):
            return 1 / float(bound)
    return None


def digest(records: Sequence[dict[str, Any]]) -> str:
    """Return the sha256 of what the picture shows."""
    return hashlib.sha256(json.dumps([vars(bar) for bar in bars(records)]).encode()).hexdigest()


def performance_figure(records: Sequence[dict[str, Any]]) -> "Figure":
    """Draw the bars from 1 on a logarithmic axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = bars(records)
    height = _HEAD_INCHES + _ROW_INCHES * len(shown)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    reached = [value for bar in shown for value in (bar.times, bar.goal) if value] + [0.5, 2.0]
    axes.set_xscale("log")
    axes.set_xlim(min(reached) / 1.2, max(reached) * 1.2)
    axes.axvline(1, color="black", linewidth=0.8)
    for place, bar in enumerate(shown):
        low, high = sorted((1.0, bar.times))
        axes.barh(place, high - low, left=low, height=0.62, color=_COLOURS[bar.met])
        if bar.goal:
            axes.plot(bar.goal, place, marker="|", color="black", markersize=13, markeredgewidth=2)
    axes.set_yticks(range(len(shown)), [bar.label for bar in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    # The figures are a column of their own, clear of names and bars. They are tick labels because the layout
    # makes room for those. It makes none for the width of an axis label, which therefore ends where the axis
    # ends, and begins under the names.
    figures = axes.secondary_yaxis("right")
    figures.set_yticks(range(len(shown)), [f"{bar.times:.3g}x" for bar in shown], fontsize=8)
    figures.spines["right"].set_visible(False)
    for side in (axes, figures):
        side.tick_params(axis="y", length=0)
    axes.set_xlabel("times as fast as the one named last; left of 1x: slower", loc="right")
    axes.grid(axis="x", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    states = [state for state in _SAYS if any(bar.met is state for bar in shown)]
    keys: list[Any] = [Patch(color=_COLOURS[state], label=_SAYS[state]) for state in states]
    keys.append(
        Line2D([], [], marker="|", color="black", linestyle="", markersize=11, label="goal")
    )
    figure.legend(handles=keys, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def performance_png(records: Sequence[dict[str, Any]]) -> bytes:
    """Return the picture as a file; the same figures give the same bytes."""
    figure, buffer = performance_figure(records), io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None, SOURCE: digest(records)})
    return buffer.getvalue()
