"""New user ids in the benchmark's format (`1234-ABCDE`): seeded, never one given before."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

_LETTERS = 26 ** np.arange(4, -1, -1, dtype=np.int64)
_DIGITS = 10 ** np.arange(3, -1, -1, dtype=np.int64)
_SUFFIXES = 26**5
_SPACE = 10**4 * _SUFFIXES
_LENGTH = 10


class UserIds:
    """Every id ever given out, as numbers; leavers' ids are not used again."""

    def __init__(self, taken: pd.Series) -> None:
        self._given = np.sort(_encode(taken))

    def issue(self, count: int, rng: np.random.Generator) -> pd.Series:
        """Return `count` ids that nobody had before."""
        fresh = np.empty(0, dtype=np.int64)
        while len(fresh) < count:
            drawn = rng.integers(0, _SPACE, count - len(fresh))
            drawn = drawn[~np.isin(drawn, self._given) & ~np.isin(drawn, fresh)]
            _, where = np.unique(drawn, return_index=True)
            fresh = np.concatenate([fresh, drawn[np.sort(where)]])
        self._given = np.sort(np.concatenate([self._given, fresh]))
        return _decode(fresh)


def _encode(user_ids: pd.Series) -> npt.NDArray[np.int64]:
    letters = user_ids.to_numpy(dtype=f"S{_LENGTH}").view(np.uint8).reshape(-1, _LENGTH)
    digits = (letters[:, :4].astype(np.int64) - ord("0")) @ _DIGITS
    suffix = (letters[:, 5:].astype(np.int64) - ord("A")) @ _LETTERS
    return np.asarray(digits * _SUFFIXES + suffix, dtype=np.int64)


def _decode(numbers: npt.NDArray[np.int64]) -> pd.Series:
    text = np.empty((len(numbers), _LENGTH), dtype=np.uint8)
    text[:, :4] = (numbers // _SUFFIXES)[:, None] // _DIGITS % 10 + ord("0")
    text[:, 4] = ord("-")
    text[:, 5:] = (numbers % _SUFFIXES)[:, None] // _LETTERS % 26 + ord("A")
    offsets = np.arange(0, text.size + 1, _LENGTH, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    strings = pa.StringArray.from_buffers(len(numbers), buffers[1], buffers[2])
    return pd.Series(pd.array(strings, dtype="string[pyarrow]"))
