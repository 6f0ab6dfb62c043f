"""Scoring many rows: the very file that the API serves, in blocks, with the API's bits."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from churn.model.encode import Inputs
from churn.model.onnx_graph import score

BLOCK_ROWS = 4_096  # what a block needs in between stays in the processor's cache


def score_in_blocks(session: Any, inputs: Inputs, threads: int) -> npt.NDArray[np.float32]:
    """Return P(churn) of each row, the same bits as of each row alone.

    Rows that look alike are scored one after another: they take the same turns in the trees, which the
    processor then foresees and holds in its cache. Blocks are shared out to threads, never the trees of a
    row, whose votes would then add up in another order.

    Args:
        session: opened with one thread; a session may be used by many at once.
        inputs: the rows, encoded.
        threads: how many blocks are scored at a time.
    """
    order = _alike(inputs)
    found = np.empty(len(order), dtype=np.float32)

    def fill(rows: npt.NDArray[np.int64]) -> None:
        block: Inputs = {name: values[rows] for name, values in inputs.items()}
        found[rows] = score(session, block)

    blocks = (order[at : at + BLOCK_ROWS] for at in itertools.count(0, BLOCK_ROWS))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, itertools.takewhile(len, blocks)))
    return found


def _alike(inputs: Inputs) -> npt.NDArray[np.int64]:
    """Return the rows in the order of the first two numbers: tenure and fee, which trees ask most."""
    leading = inputs["numeric"].T[:2]
    return np.lexsort(leading[::-1]) if len(leading) else np.arange(len(inputs["categorical"]))
