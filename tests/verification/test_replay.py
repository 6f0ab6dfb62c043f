"""The replay agrees with a right training set, and sees each way in which one can be wrong."""

import datetime as dt
from collections.abc import Callable

import pyarrow as pa
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, LABELS
from churn.training.dataset import build_training_set
from churn.verification.replay import replay
from feature_repo.store import apply_features
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER, put, put_profile

USERS = ["b", "a", "d", "c"]


@pytest.fixture
def rows(settings) -> pa.Table:
    """January's training set; February and a correction of January came later."""
    apply_features()
    put_profile(JANUARY, USERS, monthly_fee=29.85, total_paid=1234567.89, plan_stream_tv=None)
    put(LABELS, JANUARY, USERS)
    put_profile(FEBRUARY, USERS, monthly_fee=31.0)
    put(LABELS, FEBRUARY, USERS, churn_label=False)
    put_profile(JANUARY, ["a", "b"], known_at=LATER, withdrawn=["c", "d"], monthly_fee=7.0)
    put(LABELS, JANUARY, USERS, known_at=LATER, churn_label=False)
    return build_training_set(JANUARY).rows


def test_a_right_training_set_agrees(rows: pa.Table) -> None:
    replayed = replay(JANUARY, rows)
    assert (replayed.none, replayed.users, replayed.mismatches) == (True, 4, 0)
    # The features of four users, and the label of each.
    assert replayed.values == 4 * (len(DEFAULT_SERVICE.features) + 1)


def changed(name: str, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        at = rows.schema.get_field_index(name)
        column = pa.array([value, *rows[name].to_pylist()[1:]], rows.schema.field(at).type)
        return rows.set_column(at, rows.schema.field(at), column)

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (changed("monthly_fee", 29.86), "a: monthly_fee is 29.85"),
        (changed("total_paid", 1234567.875), "a: total_paid is 1234567.89"),
        (changed("plan_stream_tv", True), "a: plan_stream_tv is None"),
        (changed("churn_label", False), "a: churn_label is True"),
        (lambda rows: rows.slice(1), "a: no row in the training set"),
        (lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]), "4 rows in Postgres, 5"),
    ],
    ids=["value", "rounded money", "unknown made true", "label", "row missing", "row too many"],
)
def test_a_spoiled_training_set_does_not(
    rows: pa.Table, spoil: Callable[[pa.Table], pa.Table], words: str
) -> None:
    replayed = replay(JANUARY, spoil(rows))
    assert not replayed.none
    assert any(words in example for example in replayed.examples)


def test_a_label_of_another_month_is_seen(rows: pa.Table) -> None:
    assert replay(FEBRUARY, rows).mismatches >= 4


def test_a_correction_known_too_late_is_seen(rows: pa.Table) -> None:
    late = build_training_set(JANUARY, LATER).rows
    replayed = replay(JANUARY, late)
    assert any("monthly_fee is 29.85" in example for example in replayed.examples)
    assert any("no row" in example for example in replayed.examples)


def test_a_sample_is_a_sample(rows: pa.Table) -> None:
    assert replay(JANUARY, rows, sample=2).users == 2
    early = dt.timedelta(microseconds=1)
    put(LABELS, JANUARY, ["e"], known_at=JANUARY.matures_at - early)  # no profile: no row is due
    assert replay(JANUARY, rows).none
