import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from churn.fingerprint import ByUser, order_by

# Short and long, for each way of packing a key; zeros, which padding could be mistaken for.
SHORT = st.text(st.sampled_from("ab\0é"), max_size=10)
TEXT = SHORT | st.text(st.sampled_from("ab"), min_size=31, max_size=40)
KEYS = st.lists(st.tuples(TEXT, st.integers(-2, 2)), max_size=12)


def table(keys: list[tuple[str, int]], cut: int) -> pa.Table:
    schema = pa.schema([("user_id", pa.string()), ("n", pa.int64())])
    rows = [{"user_id": user, "n": n} for user, n in keys]
    parts = (pa.Table.from_pylist(part, schema) for part in (rows[:cut], rows[cut:]))
    return pa.concat_tables(parts)


@given(KEYS, st.data())
def test_rows_are_sorted_bytewise_and_equal_ones_keep_their_places(
    keys: list[tuple[str, int]], data: st.DataObject
) -> None:
    rows = table(keys, data.draw(st.integers(0, len(keys))))
    order = order_by(rows, ["user_id", "n"])
    wanted = sorted(range(len(keys)), key=lambda at: (keys[at][0].encode(), keys[at][1]))
    places = list(range(len(keys))) if order.indices is None else order.indices.to_pylist()
    assert places == wanted
    assert order.has_repeats == (len(set(keys)) < len(keys))
    assert order.sort_table(rows).to_pylist() == [rows.to_pylist()[at] for at in wanted]


def test_sorted_rows_are_left_as_they_are() -> None:
    rows = table([("a", 2), ("b", 1)], 1)
    assert order_by(rows, ["user_id"]).sort_table(rows) is rows


def test_columns_by_user() -> None:
    by_user = ByUser(table([("b", 1), ("a", 2)], 2))
    assert by_user.ids.to_pylist() == ["a", "b"]
    assert by_user.sorted("n").to_pylist() == [2, 1]
