import datetime as dt
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from churn.months import Month
from churn.promotion import ledger
from churn.promotion.decide import take_due_decisions
from churn.promotion.entry import Entry, decisions
from churn.settings import Settings, get_settings
from tests.kit.decision_world import World, deliver, deliver_labels
from tests.kit.releases import JANUARY, draft, written

MONTHS = [JANUARY.shift(n) for n in range(6)]
M1, M2, M3, M4, M5, M6 = MONTHS
LATE = dt.timedelta(days=5)


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Models grow better, but for a poor fourth one; from the fifth month on, others leave."""
    monkeypatch.setenv("CHURN_GATE_RESAMPLES", "100")
    monkeypatch.setenv("CHURN_CAMPAIGN_CUSTOMER_VALUE", "50")  # a contact pays from .5 on
    get_settings.cache_clear()
    qualities = dict(zip(MONTHS, (0.4, 0.6, 0.9, 0.1, 0.9, 0.9), strict=True))
    yield World(qualities, turned={M5, M6})
    get_settings.cache_clear()


def outcomes(entries: Iterable[Entry]) -> list[tuple[str, str, Month | None]]:
    kept = ledger.releases()
    return [
        (str(e.month), e.outcome, kept[e.release_id].month if e.release_id else None)
        for e in entries
    ]


def standing() -> list[tuple[object, ...]]:
    """Return what stands, without the numbers of versions and the times of writing."""
    standing_decisions = decisions(ledger.entries())
    return [
        (str(m), standing_decisions[m].content_hash, standing_decisions[m].evidence["rule"])
        for m in sorted(standing_decisions)
    ]


def test_in_natural_order_each_month_is_decided_once(world: World) -> None:
    for month in MONTHS:
        deliver(month)
        taken = world.materialise(month)
        assert [entry.month for entry in taken.entries] == [month]
        assert taken.waiting is None
        assert take_due_decisions(month, world).entries == []
    entries = ledger.entries()
    assert outcomes(entries) == [
        ("2024-01", "promote", M1),
        ("2024-02", "keep", M1),  # the challenger is the champion
        ("2024-03", "promote", M2),
        ("2024-04", "promote", M3),
        ("2024-05", "promote", M4),  # a poor model, but the champion is worse than chance
        ("2024-06", "promote", M5),
    ]
    assert [entry.evidence["rule"] for entry in entries] == [
        "first release", "none", "better", "better", "better", "better",
    ]  # fmt: skip
    assert (
        entries[4].evidence["trigger"]
        == entries[5].evidence["trigger"]
        == ("performance below floor")
    )
    assert entries[1].reasons == ("the champion is the challenger",)
    assert [entry.decided_for for entry in entries] == [m.matures_at for m in MONTHS]
    assert world.served == [e.release_id for e in entries if e.outcome == "promote"]
    assert ledger.verify() == ledger.Verification(6)


def test_the_evidence_says_who_was_judged_on_whom(world: World) -> None:
    for month in MONTHS[:3]:
        deliver(month)
        world.materialise(month)
    evidence = ledger.entries()[2].evidence
    assert (evidence["month"], evidence["month_end"]) == ("2024-03", "2024-03-31")
    assert evidence["challenger"]["as_of"] == "2024-02-29"
    assert evidence["champion"]["as_of"] == "2024-01-31"
    assert 400 < evidence["rows"] < 600
    assert 0 < evidence["left"] < evidence["rows"]
    for name in ("auc", "profit"):
        difference = evidence["differences"][name]
        assert difference["low"] < difference["estimate"] < difference["high"]
        of_both = [evidence[who][name]["estimate"] for who in ("challenger", "champion")]
        assert difference["estimate"] == pytest.approx(of_both[0] - of_both[1])


@pytest.mark.parametrize("seed", range(6))
def test_any_order_ends_in_the_same_decisions(world: World, seed: int) -> None:
    for month in MONTHS:
        if month != M4:
            deliver(month)
    deliver(M4, late=LATE)
    expected = EXPECTED_WITH_A_LATE_FOURTH
    order = [month for month in MONTHS if month != M4]
    random.Random(seed).shuffle(order)  # noqa: S311  (nothing secret)
    for month in order:
        world.materialise(month)
    assert outcomes(ledger.entries()) == expected
    assert [entry.supersedes for entry in ledger.entries()] == [None] * 6
    assert world.served[-1] == ledger.release_in_force().release_id
    assert ledger.verify().is_whole


EXPECTED_WITH_A_LATE_FOURTH = [
    ("2024-01", "promote", M1),
    ("2024-02", "keep", M1),
    ("2024-03", "promote", M2),
    ("2024-04", "keep", M2),
    ("2024-05", "keep", M2),
    ("2024-06", "promote", M5),
]


def test_parallel_months_end_in_the_same_ledger(world: World) -> None:
    for month in MONTHS:
        deliver(month)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(world.materialise, MONTHS[::-1]))
    parallel = standing()
    assert len(ledger.entries()) == len(MONTHS)
    assert parallel[3][0] == "2024-04"
    assert [o[1:] for o in outcomes(ledger.entries())][-1] == ("promote", M5)


def test_a_month_delivered_in_time_is_waited_for(world: World) -> None:
    for month in MONTHS[:3]:
        deliver(month)
    taken = world.materialise(M3)
    assert (taken.entries, taken.waiting.month) == ([], M1)
    assert taken.waiting.for_what == "training_dataset of 2024-01"
    assert world.served == [None]
    taken = world.materialise(M1)
    assert [entry.month for entry in taken.entries] == [M1]
    assert taken.waiting.month == M2
    taken = world.materialise(M2)
    assert [entry.month for entry in taken.entries] == [M2, M3]


def test_a_training_set_without_its_model_is_waited_for(world: World) -> None:
    deliver(M1)
    world.write_training_set(M1)
    taken = take_due_decisions(M1, world)
    assert taken.waiting.for_what == "churn_model of 2024-01, its blocking checks passed"


def test_a_late_and_a_lost_month_keep_the_champion(world: World) -> None:
    deliver(M1)
    world.materialise(M1)
    deliver(M2, labels=False)
    deliver(M3, labels=False)  # time has passed, but labels could still count as on time
    assert take_due_decisions(M1, world).entries == []
    deliver_labels(M2, late=LATE)
    [late] = take_due_decisions(None, world).entries
    assert (late.outcome, late.release_id) == ("keep", world.served[-1])
    assert late.reasons == (
        "labels of 2024-02 were not known on 2024-03-31: they came on 2024-04-05",
    )
    deliver(M4)  # M3 never gets its labels
    world.materialise(M4)
    lost, judged = ledger.entries()[2:]
    assert lost.reasons == ("labels of 2024-03 were not known on 2024-04-30",)
    assert judged.reasons == ("no challenger: labels of 2024-03 were not known on 2024-04-30",)
    assert judged.evidence["champion"]["as_of"] == "2024-01-31"
    deliver(M6)
    taken = world.materialise(M6)
    assert [(e.month, e.reasons) for e in taken.entries] == [
        (M5, ("the drop of 2024-05 was lost: no file of it is here",)),
        (M6, ("no challenger: the drop of 2024-05 was lost: no file of it is here",)),
    ]


def test_a_month_whose_first_release_failed_is_followed_by_the_next(world: World) -> None:
    world.qualities[M1] = 0.0
    for month in (M1, M2):
        deliver(month)
        world.materialise(month)
    assert outcomes(ledger.entries()) == [("2024-01", "keep", None), ("2024-02", "promote", M2)]
    assert ledger.release_in_force(M1.matures_at) is None
    assert "does not beat" in " ".join(ledger.entries()[0].reasons)
    assert world.served == [None, ledger.entries()[1].release_id]


def test_labels_of_one_class_keep_and_do_not_block(world: World) -> None:
    for month in MONTHS[:3]:
        deliver(month)
    world.materialise(M1)
    users = world.users
    world.users = lambda month: users(month).assign(churn_label=False)  # type: ignore[method-assign]
    world.write_training_set(M2)  # its model cannot be fitted
    [second] = take_due_decisions(M2, world).entries
    assert second.outcome == "keep"
    world.users = users  # type: ignore[method-assign]
    [third] = world.materialise(M3).entries
    assert third.reasons == ("no challenger: the labels of 2024-02 are of one class",)


def test_history_that_comes_later_is_a_new_entry_and_alters_none(world: World) -> None:
    for month in (M1, M3, M4, M5):
        deliver(month)
        world.materialise(month)
    before = ledger.entries()
    assert outcomes(before)[1:3] == [("2024-02", "keep", M1), ("2024-03", "keep", M1)]
    deliver(M2)  # declared as history: it counts as known on time
    taken = take_due_decisions(None, world)
    assert (taken.entries, taken.waiting.month) == ([], M2)  # it has to be materialised first
    taken = world.materialise(M2)
    assert ledger.entries()[: len(before)] == before
    assert [(e.month, e.outcome) for e in taken.entries][:2] == [(M2, "keep"), (M3, "promote")]
    first = taken.entries[0]
    assert first.supersedes == 2
    assert first.reasons[0] == (
        "decided again: what was known on 2024-03-31 is not what entry 2 rests on"
    )
    assert [e.supersedes for e in taken.entries] == [2, 3, 4]  # the fifth met the same champion
    assert take_due_decisions(None, world).entries == []
    assert ledger.verify().is_whole


def test_a_month_loaded_late_ends_like_one_in_order(world: World) -> None:
    for month in MONTHS:
        deliver(month)
        world.materialise(month)
    expected = standing()
    with_history = World(world.qualities, world.turned)
    from churn.database import connect

    with connect() as connection:
        connection.execute("SET session_replication_role = replica")
        for table in ("decisions.ledger", "decisions.releases", "raw.deliveries"):
            connection.execute(f"DELETE FROM {table}")
    for month in (M5, M2, M6, M1, M4, M3):
        deliver(month)
        with_history.materialise(month)
    assert standing() == expected
    assert with_history.served[-1] == world.served[-1]
    assert len(ledger.entries()) > len(expected)  # and what was believed meanwhile is told


def test_new_content_of_a_past_month_is_a_new_entry(world: World) -> None:
    for month in MONTHS[:4]:
        deliver(month)
        world.materialise(month)
    world.alterations[M2] = 1  # a correction that counts as known on time
    taken = world.materialise(M2)
    assert [e.supersedes for e in taken.entries][:2] == [2, 3]
    assert take_due_decisions(M2, world).entries == []


def test_what_was_done_by_hand_stands(world: World) -> None:
    for month in MONTHS[:3]:
        deliver(month)
        world.materialise(month)
    first, third = ledger.entries()[0], ledger.entries()[2]
    back = draft(
        None, first.release_id, kind="rollback", outcome="restore",
        decided_for=M3.matures_at, champion=third.release_id,
    )  # fmt: skip
    written(back)
    assert ledger.release_in_force(M3.matures_at).release_id == first.release_id
    take_due_decisions(None, world)
    assert world.served[-1] == first.release_id
    deliver(M4)
    [decided] = world.materialise(M4).entries
    assert decided.champion == first.release_id
    world.alterations[M2] = 1
    world.materialise(M2)  # a past decision is taken again: what came after by hand stands
    assert ledger.release_in_force(M3.matures_at).release_id == first.release_id


def test_a_registry_that_is_down_decides_nothing(world: World, monkeypatch) -> None:
    deliver(M1)

    def down(*_: object) -> None:
        raise ConnectionError("MLflow does not answer")

    monkeypatch.setattr(world, "challenger", down)
    with pytest.raises(ConnectionError):
        world.materialise(M1)
    assert ledger.entries() == []


def test_scores_that_are_no_numbers_keep_and_say_so(world: World, monkeypatch) -> None:
    deliver(M1)
    monkeypatch.setattr(world, "probabilities", lambda chosen, frame: frame["risk"] * float("nan"))
    [entry] = world.materialise(M1).entries
    assert (entry.outcome, entry.release_id) == ("keep", None)
    assert "are not numbers" in entry.reasons[0]
    assert world.served == [None]
