import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from churn.population.members import UserIds, _decode, _encode


def test_ids_are_new_unique_and_of_the_format(base: pd.DataFrame) -> None:
    ids = UserIds(base["user_id"])
    rng = np.random.default_rng(1)
    issued = pd.concat([ids.issue(count, rng) for count in (0, 50_000, 50_000)])
    assert issued.str.fullmatch(r"\d{4}-[A-Z]{5}").all()
    assert pd.concat([base["user_id"], issued]).is_unique


def test_a_taken_id_is_never_issued() -> None:
    would_be = UserIds(pd.Series(["0000-AAAAA"])).issue(5, np.random.default_rng(1))
    issued = UserIds(would_be).issue(5, np.random.default_rng(1))
    assert not set(issued) & set(would_be)
    assert issued.is_unique


@given(st.lists(st.from_regex(r"[0-9]{4}-[A-Z]{5}", fullmatch=True)))
def test_numbers_and_texts_are_one_to_one(texts: list[str]) -> None:
    assert list(_decode(_encode(pd.Series(texts, dtype="string[pyarrow]")))) == texts
