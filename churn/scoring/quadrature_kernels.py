"""The loops of churn.scoring.quadrature, compiled by numba at their first call; nothing else."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

POINTS = 8
_ROWS = 16  # explained at once: an edge's numbers are fetched once for all of them
# how a row turns at an edge: against it, along it, or against one above it of the same column
_AGAINST, _ALONG, _LOST = 0, 1, 2

F = TypeVar("F", bound=Callable[..., Any])


class Edges(NamedTuple):
    """The edges of all trees in the order in which they are walked, each as an index of these arrays.

    An edge carries the split of its parent and the value of its child. `grows` and `moves` are by turn and
    point: the factor of the product along the path, and what the edge's column adds per worth below it.
    """

    starts: Any  # of each tree; and the end of the last
    depth: Any
    column: Any
    above: Any  # the next edge above on the same column; -1: none
    split: Any
    unknown_left: Any
    is_left: Any
    is_leaf: Any
    value: Any
    grows: Any  # [edges, turns, points]
    moves: Any


def _compiled(function: F) -> F:
    # NaN must stay what it is: an unknown value, which takes a way of its own
    fast = {"reassoc", "contract", "nsz"}
    return cast("F", numba.njit(nogil=True, error_model="numpy", fastmath=fast)(function))


@_compiled
def lay_out(  # pragma: no cover  (compiled)
    roots: Any, left: Any, right: Any, feature: Any, threshold: Any, missing_left: Any,
    value: Any, cover: Any,
) -> Any:  # fmt: skip
    """Return the first nine arrays of Edges, and two shares of the training rows for each edge.

    The shares are of those who take every turn of the path on the edge's column, without and with the edge.
    """
    edges = len(left) - len(roots)
    starts = np.zeros(len(roots) + 1, np.int64)
    parent, child = np.empty(edges, np.int64), np.empty(edges, np.int64)
    depth, above = np.empty(edges, np.int64), np.full(edges, -1)
    before, after = np.ones(edges), np.ones(edges)
    path = np.zeros(edges + 1, np.int64)  # the edge at each depth
    made = 0
    for tree, root in enumerate(roots):
        waiting = [(root, 0, root)]
        while len(waiting) > 0:
            node, level, over = waiting.pop()
            if level > 0:
                path[level] = made
                parent[made], child[made], depth[made] = over, node, level
                for higher in path[1:level][::-1]:
                    if feature[parent[higher]] == feature[over]:
                        above[made], before[made] = higher, after[higher]
                        break
                after[made] = before[made] * cover[node] / cover[over]
                made += 1
            if left[node] >= 0:
                waiting.append((right[node], level + 1, node))
                waiting.append((left[node], level + 1, node))
        starts[tree + 1] = made
    return (
        starts, depth, feature[parent], above, threshold[parent], missing_left[parent],
        left[parent] == child, left[child] < 0, value[child], before, after,
    )  # fmt: skip


@_compiled
def explain(edges: Edges, rows: Any, found: Any) -> None:  # pragma: no cover  (compiled)
    """Add to `found` [N, columns or more] what each column adds to the score of each row [N, columns]."""
    deepest = edges.depth.max() + 1 if len(edges.depth) > 0 else 1
    down = np.ones((deepest, _ROWS, POINTS))  # the product along the path
    up = np.zeros((deepest, _ROWS, POINTS))  # the worth of the leaves below, as far as walked
    opened = np.zeros(deepest, np.int64)
    for tree in range(len(edges.starts) - 1):
        start, end = edges.starts[tree], edges.starts[tree + 1]
        turns = np.empty((end - start, _ROWS), np.uint8)
        for first in range(0, len(rows), _ROWS):
            block, sums = rows[first : first + _ROWS], found[first : first + _ROWS]
            top = 0
            for at in range(start, end):
                while top >= edges.depth[at]:
                    _close(edges, opened[top], turns[opened[top] - start], block, up, top, sums)
                    top -= 1
                above = edges.above[at] - start
                over = turns[above] if above >= 0 else turns[at - start]
                _turn(edges, at, above >= 0, over, block, turns[at - start])
                top = _open(edges, at, turns[at - start], block, down, up, top, sums)
                opened[top] = at if not edges.is_leaf[at] else opened[top]
            while top >= 1:
                _close(edges, opened[top], turns[opened[top] - start], block, up, top, sums)
                top -= 1


@_compiled
def _turn(  # pragma: no cover  (compiled)
    edges: Edges, at: int, is_again: bool, over: Any, block: Any, turns: Any
) -> None:
    for row in range(len(block)):
        x = block[row, edges.column[at]]
        goes_left = (x <= edges.split[at]) | (edges.unknown_left[at] & np.isnan(x))
        turn = np.uint8(goes_left == edges.is_left[at])
        is_lost = is_again and over[row] != _ALONG
        turns[row] = np.uint8(_LOST) if is_lost else turn


@_compiled
def _open(  # pragma: no cover  (compiled)
    edges: Edges, at: int, turns: Any, block: Any, down: Any, up: Any, top: int, sums: Any
) -> Any:
    """Go down an edge; a leaf's worth is added at once. Return the depth that is open now."""
    grows, moves, level = edges.grows, edges.moves, edges.depth[at]
    if not edges.is_leaf[at]:
        for row in range(len(block)):
            turn = turns[row]
            for point in range(POINTS):
                down[level, row, point] = down[level - 1, row, point] * grows[at, turn, point]
                up[level, row, point] = 0.0
        return level
    value, column = edges.value[at], edges.column[at]
    for row in range(len(block)):
        turn = turns[row]
        added = 0.0
        for point in range(POINTS):
            worth = down[level - 1, row, point] * (grows[at, turn, point] * value)
            added += worth * moves[at, turn, point]
            up[level - 1, row, point] += worth
        sums[row, column] += added
    return top


@_compiled
def _close(  # pragma: no cover  (compiled)
    edges: Edges, at: int, turns: Any, block: Any, up: Any, top: int, sums: Any
) -> None:
    """Go up an edge: its column adds its part of the worth below, which the parent's is part of."""
    moves, column = edges.moves, edges.column[at]
    for row in range(len(block)):
        turn = turns[row]
        added = 0.0
        for point in range(POINTS):
            added += up[top, row, point] * moves[at, turn, point]
            up[top - 1, row, point] += up[top, row, point]
        sums[row, column] += added
