import datetime as dt
from dataclasses import replace
from typing import Any

from churn.months import Month, months_between
from churn.schedule.due import LATE_LABELS, Attempt, Due, Facts, Stage, askable, stage_states
from churn.schedule.sentences import sentence, sentences

JANUARY = Month.parse("2024-01")
FEBRUARY, MARCH, APRIL = (JANUARY.shift(n) for n in (1, 2, 3))
START = dt.datetime(2024, 4, 2, 10, tzinfo=dt.UTC)
DELAYS = [dt.timedelta(minutes=minutes) for minutes in (1, 5, 30)]
ASSETS: Any = {
    "month_close": ["users", "online_features"],
    "train_month": ["labels", "churn_model", "champion"],
    "score_month": ["churn_scores", "action_list"],
}
CLOSED_ALL = Facts(
    closings=dict.fromkeys(months_between(JANUARY, APRIL), "7"),
    unpublished=(),
    trainings=dict.fromkeys(months_between(JANUARY, MARCH), "8"),
    late=(),
    scorings=dict.fromkeys(months_between(JANUARY, APRIL), "9"),
    unscored=(),
    decidable=[JANUARY, FEBRUARY, MARCH],
    decided=(JANUARY, FEBRUARY, MARCH),
    trained=(JANUARY, FEBRUARY, MARCH),
)


def minutes(number: float) -> dt.datetime:
    return START + dt.timedelta(minutes=number)


def failed(at: float, job: Any = "month_close", month: Month = JANUARY, **more: Any) -> Attempt:
    given = {"version": "7", "error": "MLflow does not answer", **more}
    return Attempt(job, month, state="failed", ended_at=minutes(at), **given)


def seen(facts: Facts, *attempts: Attempt) -> dict[tuple[Stage, Month], Due]:
    return {
        (item.stage, item.month): item
        for item in stage_states(facts, sorted(attempts, key=_ended, reverse=True), ASSETS, DELAYS)
    }


def _ended(attempt: Attempt) -> dt.datetime:
    return attempt.ended_at or dt.datetime.max.replace(tzinfo=dt.UTC)


def no_january(facts: Facts = CLOSED_ALL) -> Facts:
    """January's drop is here and not published; everything behind it waits."""
    scorings = {month: "9" for month in facts.scorings if month != JANUARY}
    return replace(
        facts,
        unpublished=(JANUARY,),
        scorings=scorings,
        decided=(),
        trained=(FEBRUARY, MARCH),
    )


def test_a_world_where_all_is_done_has_nothing_to_ask_for() -> None:
    items = stage_states(CLOSED_ALL, [], ASSETS, DELAYS)
    assert {item.state for item in items} == {"done"}
    assert [len([i for i in items if i.month == m]) for m in (JANUARY, APRIL)] == [4, 2]
    assert sentences(items) == []


def test_what_a_drop_makes_possible_is_due_and_what_comes_after_it_waits() -> None:
    stages = seen(no_january())
    close = stages["month_close", JANUARY]
    assert (close.state, close.version, close.failures) == ("due", "7", 0)
    assert close.is_askable(None)
    for stage in ("train_month", "score_month", "decision"):
        waiting = stages[stage, JANUARY]  # type: ignore[index]
        assert (waiting.state, waiting.behind) == ("waits", ("month_close", JANUARY))


def test_a_failed_month_is_asked_for_further_and_further_apart_then_given_up() -> None:
    facts = no_january()
    attempts: list[Attempt] = []
    for number, (at, delay) in enumerate(zip((0, 10, 20), (1, 5, 30), strict=True), start=1):
        attempts.append(failed(at, number=number))
        item = seen(facts, *attempts)["month_close", JANUARY]
        assert (item.state, item.failures, item.asked) == ("failed", number, number)
        assert item.again_at == minutes(at + delay)
        assert not item.is_askable(minutes(at + delay - 0.1))
        assert item.is_askable(minutes(at + delay))
        assert not item.is_askable(None)
    last = seen(facts, *attempts, failed(60))["month_close", JANUARY]
    assert (last.state, last.failures, last.since, last.again_at) == (
        "given up",
        4,
        minutes(0),
        None,
    )
    assert not last.is_askable(minutes(10_000))


def test_an_attempt_that_was_deleted_does_not_give_its_number_to_the_next() -> None:
    left = [failed(10, number=2), failed(20, number=3)]  # the first one was deleted in the UI
    item = seen(no_january(), *left)["month_close", JANUARY]
    assert (item.failures, item.asked) == (2, 3)  # the next key is :4, which no run has


def test_what_it_rests_on_has_changed_so_it_is_asked_for_at_once() -> None:
    facts = replace(no_january(), closings={**CLOSED_ALL.closings, JANUARY: "20"})
    attempts = [failed(at) for at in range(4)]
    item = seen(facts, *attempts)["month_close", JANUARY]
    assert (item.state, item.failures, item.asked) == ("due", 0, 0)


def test_a_failed_blocking_check_is_not_asked_about_again_in_vain() -> None:
    stages = seen(no_january(), failed(0, error="users.valid: -1 is no fee", is_refused=True))
    item = stages["month_close", JANUARY]
    assert (item.state, item.again_at) == ("given up", None)
    assert "deliver a corrected drop of 2024-01, or mend the cause" in sentence(item, [item])


def test_a_run_under_way_is_not_asked_for_a_second_time() -> None:
    under_way = Attempt("month_close", JANUARY, None, "under way")
    item = seen(no_january(), failed(0), under_way)["month_close", JANUARY]
    assert item.state == "under way"


def test_only_what_an_earlier_attempt_has_left_is_made_again() -> None:
    facts = replace(CLOSED_ALL, decided=(), trained=CLOSED_ALL.trained)
    first = failed(0, "train_month", MARCH, version="8", finished=frozenset({"labels"}))
    second = failed(2, "train_month", MARCH, version="8", finished=frozenset({"churn_model"}))
    stage = seen(facts, first)["train_month", MARCH]
    # the models are there, and yet the month is not done: nobody has decided on it
    assert (stage.state, stage.left) == ("failed", ("churn_model", "champion"))
    assert seen(facts, first, second)["train_month", MARCH].left == ("champion",)
    mended = Attempt("train_month", MARCH, "8", "succeeded", minutes(9))
    assert seen(facts, first, second, mended)["train_month", MARCH].state == "done"


def test_a_decision_that_failed_is_still_due_when_its_month_is_corrected() -> None:
    facts = replace(CLOSED_ALL, decided=(JANUARY, FEBRUARY))
    finished = frozenset({"labels", "churn_model"})
    before = failed(0, "train_month", MARCH, version="7", finished=finished)
    item = seen(facts, before)["train_month", MARCH]
    assert (item.state, item.version, item.left) == ("due", "8", ("champion",))
    older = Attempt("train_month", MARCH, "6", "succeeded", minutes(-5))
    assert seen(facts, older)["train_month", MARCH].state == "done"


def test_what_a_failed_run_of_an_older_drop_had_made_is_made_again_of_the_new_one() -> None:
    by_hand = failed(0, version=None, finished=frozenset({"users"}))
    assert seen(no_january(), by_hand)["month_close", JANUARY].left == ()


def test_a_success_that_left_the_work_undone_counts_as_a_failure() -> None:
    success = Attempt("month_close", JANUARY, "7", "succeeded", minutes(0))
    item = seen(no_january(), success)["month_close", JANUARY]
    assert (item.state, item.failures, item.left) == ("failed", 1, ())
    assert "not there" in item.error


def test_scores_go_back_to_a_release_that_they_rested_on_before() -> None:
    facts = replace(CLOSED_ALL, unscored=(APRIL,))
    first = Attempt("score_month", APRIL, "9", "succeeded", minutes(0))
    other = Attempt("score_month", APRIL, "another release", "succeeded", minutes(5))
    item = seen(facts, first, other)["score_month", APRIL]
    assert (item.state, item.failures, item.asked) == ("due", 0, 1)  # a key of its own


def test_what_a_person_launched_and_lost_is_asked_for_too() -> None:
    by_hand = failed(0, version=None)
    assert seen(no_january(), by_hand)["month_close", JANUARY].failures == 1
    tagged = seen(no_january(), by_hand, failed(5))["month_close", JANUARY]
    assert tagged.failures == 1
    assert tagged.again_at == minutes(6)


def test_labels_that_came_too_late_are_kept_and_nothing_is_trained_on_them() -> None:
    facts = replace(CLOSED_ALL, late=(MARCH,), trained=(JANUARY, FEBRUARY))
    item = seen(facts)["train_month", MARCH]
    assert (item.state, item.left) == ("due", LATE_LABELS)
    kept = Attempt("train_month", MARCH, "8", "succeeded", minutes(0))
    assert seen(facts, kept)["train_month", MARCH].state == "done"


def test_closings_come_first_then_trainings_then_scores() -> None:
    facts = replace(no_january(), unscored=(FEBRUARY,), trained=(MARCH,))
    requests = askable(stage_states(facts, [], ASSETS, DELAYS), None)
    assert [(item.stage, item.month) for item in requests] == [
        ("month_close", JANUARY),
        ("train_month", FEBRUARY),
        ("score_month", FEBRUARY),
    ]
