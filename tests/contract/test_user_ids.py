"""The rule for ids, held against itself: the quick look at many misses nothing that the slow one sees."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.contract.user_ids import LONGEST, RULES, WORDS, fault_of, faults, lookalikes, suspects

_ODD = "\u00a0\u0085\u200b\ufeff\u3000\u0301\u00e9eé \t\u212a\u1161\uac00\u1100\ufe0f\U000e0041Ωa"
TEXTS = st.one_of(
    st.text(_ODD, max_size=6),
    st.text(max_size=8),
    st.sampled_from(sorted(WORDS)).map(str.title),
    st.sampled_from(["x" * LONGEST, "é" * (LONGEST + 1)]),
)


def column(texts: list[str | None], cut: int) -> pa.ChunkedArray:
    """In two chunks, the second of which is a slice of another array."""
    rest = pa.array(["\u200b", *texts[cut:]], pa.string()).slice(1)
    return pa.chunked_array([pa.array(texts[:cut], pa.string()), rest])


@given(st.lists(st.none() | TEXTS, max_size=12), st.integers(0, 12))
def test_the_quick_look_sees_all_that_a_slow_one_does(texts: list[str | None], cut: int) -> None:
    ids = column(texts, cut)
    slow = {
        rule: [(row, t) for row, t in enumerate(texts) if t is not None and rule.is_broken_by(t)]
        for rule in RULES
    }
    assert faults(ids) == {rule: rows for rule, rows in slow.items() if rows}
    for text in texts:
        broken = [rule for rule in RULES if text is not None and rule.is_broken_by(text)]
        assert text is None or fault_of(text) is (broken[0] if broken else None)


@given(st.lists(TEXTS, max_size=8))
def test_no_two_sound_ids_of_a_file_look_alike(texts: list[str]) -> None:
    alike = {row for row, _ in lookalikes(column(texts, len(texts) // 2))}
    sound = [text for row, text in enumerate(texts) if fault_of(text) is None and row not in alike]
    looks = {unicodedata.normalize("NFC", " ".join(text.split())) for text in sound}
    assert len(looks) == len(set(sound))


@pytest.mark.parametrize(
    "user_id",
    ["7590-VHVEG", "rxIP2f2aN0rYNp+toI0Obt/N/FYQX8hcO1fTmmy2h34=", "#17", "José", "Иван 2", "ǟ",
     "null-17", "Totalitarian", "名前", "한글", "-1", "😀", "x" * LONGEST, "𐍈" * LONGEST],
)  # fmt: skip
def test_ordinary_and_merely_unusual_ids_pass(user_id: str) -> None:
    assert fault_of(user_id) is None
    assert not faults(pa.chunked_array([[user_id]]))
    assert len(user_id.encode()) + 8 + 8 < 2_704  # what a btree page of Postgres takes of one key


def test_plain_ids_are_no_suspects() -> None:
    ids = pa.chunked_array([pa.array(np.arange(10_000).astype(str))])
    assert suspects(ids).size == 0
