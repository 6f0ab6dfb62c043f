"""The drawing of a profit curve: points of a plan turned into lines, axes and marks of an SVG.

It is drawn by the server, so it needs no script and its table stands beside it; colours are the stylesheet's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from churn.scoring.plan import Point
from console.pages import count, money

WIDTH, HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 20, 50
_TICKS = 5


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """What the template draws, in the units of its view box.

    Args:
        line: the points of the curve, as `points` of a polyline.
        left, right, top, bottom: of the plot.
        x_ticks, y_ticks: of its axes.
        zero: the height at which nothing is earned.
        cut: where the list ends; `cut_profit` is the height of the curve there.
    """

    line: str
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float
    cut: float
    cut_profit: float
    width: int = WIDTH
    height: int = HEIGHT


def drawn(points: Sequence[Point], listed: int) -> Curve:
    """Return the drawing of a curve.

    Args:
        points: from nobody on; `listed` is the number of contacts of one of them.
        listed: how many are on the list.
    """
    most = max(points[-1].contacts, 1)
    profits = [point.profit for point in points]
    low, high = min(0.0, *profits), max(0.0, *profits)
    span = (high - low) or 1.0

    def x(contacts: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * contacts / most, 1)

    def y(profit: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (low + span - profit) / span, 1)

    at_the_end = next(point.profit for point in points if point.contacts == listed)
    return Curve(
        line=" ".join(f"{x(point.contacts)},{y(point.profit)}" for point in points),
        left=_LEFT,
        right=WIDTH - _RIGHT,
        top=_TOP,
        bottom=HEIGHT - _BOTTOM,
        x_ticks=tuple(Tick(x(value), count(value)) for value in ticks(0, most, least=1)),
        y_ticks=tuple(Tick(y(value), money(value)) for value in ticks(low, low + span)),
        zero=y(0),
        cut=x(listed),
        cut_profit=y(at_the_end),
    )


def ticks(low: float, high: float, least: float = 0.0) -> list[float]:
    """Return round numbers from `low` to `high`, about as many as an axis has room for.

    Args:
        low: where the axis begins.
        high: where it ends, above `low`.
        least: the least step between two of them.
    """
    step = max(round_up((high - low) / _TICKS), least)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def round_up(value: float) -> float:
    """Return the next number that is 1, 2 or 5 times a power of ten; `value` lies above 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value * (1 - 1e-9))
