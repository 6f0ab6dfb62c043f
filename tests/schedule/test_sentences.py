from dataclasses import replace

import pytest

from churn.database import connect
from churn.months import Month
from churn.schedule.due import Due, stage_states
from churn.schedule.sentences import keep_months_behind, read_months_behind, sentences
from tests.schedule.test_due import (
    ASSETS,
    CLOSED_ALL,
    DELAYS,
    FEBRUARY,
    JANUARY,
    MARCH,
    failed,
    minutes,
    no_january,
)


def test_one_sentence_says_what_waits_behind_what_since_when_and_what_to_do() -> None:
    items = stage_states(no_january(), [failed(n) for n in (3, 2, 1, 0)], ASSETS, DELAYS)
    assert sentences(items) == [
        "train_month of 2024-01 and score_month of 2024-01 and decisions of 2024-01 to 2024-03 wait"
        " for month_close of 2024-01, which failed 4 times since 2024-04-02 10:00 UTC (MLflow does not"
        " answer): mend the cause and run `churn run --from 2024-01 --to 2024-01` or re-execute it in"
        " the UI"
    ]
    [again] = sentences(stage_states(no_january(), [failed(0)], ASSETS, DELAYS))
    assert "it is asked for again from 2024-04-02 10:01 UTC on" in again


@pytest.mark.parametrize("month", [JANUARY, MARCH])
def test_labels_without_a_drop_wait_for_it(month: Month) -> None:
    facts = replace(
        CLOSED_ALL,
        closings={m: "7" for m in CLOSED_ALL.closings if m != month},
        scorings={m: "9" for m in CLOSED_ALL.scorings if m != month},
    )
    items = stage_states(facts, [], ASSETS, DELAYS)
    assert sentences(items) == [
        f"train_month of {month} waits for the drop of {month}: deliver it with `churn deliver DIR`"
    ]


@pytest.mark.usefixtures("settings")
def test_what_is_behind_is_kept_with_the_time_since_which_it_is() -> None:
    """What waits has the time of what failed; for a drop that is missing, that of the look that said so."""
    waits_for_it = Due("train_month", JANUARY, "waits", behind=("month_close", JANUARY))
    failed_at = minutes(5)
    root = Due("month_close", JANUARY, "given up", failures=1, since=failed_at, error="no")
    lost = Due("decision", MARCH, "waits", behind=("month_close", FEBRUARY))
    keep_months_behind([root, waits_for_it, lost])
    first = {(each.stage, each.month): each for each in read_months_behind()}
    assert first["month_close", JANUARY].since == failed_at
    assert first["train_month", JANUARY].since == failed_at
    keep_months_behind([lost])
    [again] = read_months_behind()
    assert again.since == first["decision", MARCH].since > failed_at
    keep_months_behind([])
    assert read_months_behind() == []
    with connect() as connection:
        looked = connection.execute("SELECT looked_at >= %s FROM monitoring.looks", [again.since])
        assert looked.fetchall() == [(True,)]
