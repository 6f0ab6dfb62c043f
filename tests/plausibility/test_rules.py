"""The rules as functions of tables: clean worlds go through them, each impossible thing does not."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.contract.in_force import BY_NAME, LABELS, USERS
from churn.contract.structure import Table
from churn.plausibility.rules import (
    Leavers,
    ProfileMonth,
    compare,
    labels_agree,
    labels_cover,
    leavers_share,
    same_content,
    same_labels,
)
from churn.population.scenario import MONTHS, Troubles
from tests.kit.judged_months import (
    FIRST,
    Files,
    World,
    beside,
    leavers,
    of_labels,
    part,
    played,
    rules,
)
from tests.kit.streamflow import PAYMENTS, SUBSCRIPTIONS, SUPPORT, USAGE

seeds = st.integers(0, 10_000)


@pytest.fixture(scope="module")
def large_world() -> World:
    return played(4, 1500, 1)


@settings(max_examples=30)
@given(seed=seeds, share=st.floats(60 / 1500, 1))
def test_nothing_in_a_clean_world_is_impossible(
    large_world: World, seed: int, share: float
) -> None:
    """Any part of a population's users is a population: from 60 users on."""
    world = part(large_world, share, seed)
    pairs = [
        *pairwise(world),
        *zip(world, world[2:], strict=False),
    ]  # each month after, and one lost
    assert rules(f for pair in pairs for f in beside(*pair)) == set()
    assert rules(of_labels(world)) == set()


def test_nothing_is_impossible_in_two_years_of_planted_troubles() -> None:
    """The price rise, the changed label process, the lost month; a late drop beside the one after it."""
    troubles = Troubles()
    world = played(MONTHS, 500, 42, scenario=troubles.scenario)
    without = [month for number, month in enumerate(world) if number != troubles.lost]
    findings = [f for a, b in pairwise(without) for f in beside(a, b)]
    assert [f.what for f in findings if f.is_impossible] == []
    assert rules(of_labels(without)) == set()
    late, after = world[troubles.late], world[troubles.late + 1]
    assert rules(beside(after, late)) == set()
    # where the label process turns round more than half leave, which is odd; nothing else is
    assert {f.rule for f in findings} <= {"users_stay"}


@pytest.fixture(scope="module")
def world() -> World:
    return played(3, 300, 5)


def judged(world: World, table: Table, **columns: pa.Array) -> list:
    """Return what is found about March's file, some columns replaced, beside February's."""
    month, rows = world[2][0], world[2][1][table.name]
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return compare(
        table, ProfileMonth(month, rows), ProfileMonth(world[1][0], world[1][1][table.name])
    )


def text(findings: list) -> str:
    return "\n".join(finding.what for finding in findings)


@pytest.mark.parametrize("table", [USAGE, PAYMENTS, SUPPORT])
def test_last_months_rows_under_this_months_name_are_impossible(world: World, table: Table) -> None:
    """The usual slip: last month's figures, cut to the users of this month."""
    february, march = world[1][1][table.name], world[2][1][table.name]
    if table is not USAGE:  # of few users a table of counts says something
        world = played(3, 1500, 5)
        february, march = world[1][1][table.name], world[2][1][table.name]
    old = february.filter(pc.is_in(february["user_id"], march["user_id"].combine_chunks()))
    new = march.filter(pc.invert(pc.is_in(march["user_id"], february["user_id"].combine_chunks())))
    month, before = world[2][0], ProfileMonth(world[1][0], february)
    findings = compare(table, ProfileMonth(month, pa.concat_tables([old, new])), before)
    assert rules(findings) == {"same_rows"}
    assert f"{table.file} of 2024-03 beside 2024-02: " in text(findings)
    assert compare(table, ProfileMonth(month, march), before) == []


def test_rows_that_say_nothing_are_no_evidence(world: World) -> None:
    """A quiet company: no failed payment for months is no copy."""
    rows = world[1][1][PAYMENTS.name]
    quiet = rows.set_column(1, "failed_payments_90d", pa.array([0] * len(rows)))
    months = ProfileMonth(FIRST.next, quiet), ProfileMonth(FIRST, quiet)
    assert compare(PAYMENTS, *months) == []
    assert not same_content(PAYMENTS, months[0], FIRST, is_whole_month=False).is_impossible


def test_everybody_new_and_everybody_gone_is_impossible(world: World) -> None:
    ids = pa.array([f"n{n}" for n in range(300)])
    findings = judged(world, USERS, user_id=ids)
    assert rules(findings) == {"users_stay"}
    assert (
        "of the 300 users of 2024-02, 300 are gone in 2024-03; of its 300 users, 300 are new"
        in (text(findings))
    )


def test_a_large_jump_of_users_is_odd_and_no_more(world: World) -> None:
    ids = world[2][1][USERS.name]["user_id"].to_pylist()
    findings = judged(world, USERS, user_id=pa.array([*ids[:120], *(f"n{n}" for n in range(180))]))
    assert [f.is_impossible for f in findings] == [False]


def test_tenure_that_does_not_grow_is_impossible_and_another_step_is_odd(world: World) -> None:
    months = world[2][1][SUBSCRIPTIONS.name]["months_active"]
    findings = judged(world, SUBSCRIPTIONS, months_active=pc.subtract(months, 1))
    stay = len(
        set(world[1][1]["users"]["user_id"].to_pylist())
        & set(world[2][1]["users"]["user_id"].to_pylist())
    )
    assert rules(findings) == {"months_active_grows"}
    assert f"months_active did not grow for {stay} of {stay} users" in text(findings)
    findings = judged(world, SUBSCRIPTIONS, months_active=pc.add(months, 1))
    assert [(f.rule, f.is_impossible) for f in findings] == [("months_active_grows", False)]


def test_total_paid_that_falls_for_most_is_impossible(world: World) -> None:
    paid = world[2][1][SUBSCRIPTIONS.name]["total_paid"]
    findings = judged(world, SUBSCRIPTIONS, total_paid=pc.multiply(paid, 0.1))
    assert rules(findings) == {"total_paid_grows"}


def test_a_later_month_proves_nothing_but_a_copy(world: World) -> None:
    """A correction of February is judged beside March, too: what does not fit may be March's fault."""
    march, february = world[2], world[1]
    strangers = pa.array([f"n{n}" for n in range(300)])
    new = ProfileMonth(march[0], march[1][USERS.name].set_column(0, "user_id", strangers))
    own = ProfileMonth(february[0], february[1][USERS.name])
    assert [f.is_impossible for f in compare(USERS, own, new)] == [False]
    usage = march[1][USAGE.name]
    copy = compare(USAGE, ProfileMonth(february[0], usage), ProfileMonth(march[0], usage))
    assert rules(copy) == {"same_rows"}


@pytest.mark.parametrize(
    ("name", "rows", "whole", "blocks"),
    [
        ("users", 300, True, True),
        ("users", 300, False, False),  # a small company in which nobody came or went
        ("users", 2500, False, True),
        ("subscriptions", 300, False, True),
        ("usage_agg_30d", 300, False, True),
        ("payments_agg_90d", 300, False, True),
        ("support_agg_90d", 300, False, True),
    ],
)
def test_another_months_content(
    world: World, name: str, rows: int, whole: bool, blocks: bool
) -> None:
    table = BY_NAME[name]
    own = world[1][1][name] if rows == 300 else played(1, rows, 1)[0][1][name]
    findings = same_content(
        table, ProfileMonth(FIRST.shift(2), own), FIRST.next, is_whole_month=whole
    )
    assert findings.is_impossible is blocks
    assert (
        f"{name}.csv of 2024-03 is that of 2024-02: the same content in all {rows:,}"
        in findings.what
    )
    assert ("the other four files are that month's, too" in findings.what) is whole


def test_labels_of_too_few_users(world: World) -> None:
    month, own = world[0]
    users = own[USERS.name]["user_id"]
    findings = labels_cover(month, own[LABELS.name].slice(0, 99), users)
    assert rules(findings) == {"labels_cover"}
    assert text(findings) == "labels.csv of 2024-01 labels 99 of the month's 300 users"
    assert [
        f.is_impossible for f in labels_cover(month, own[LABELS.name].slice(0, 200), users)
    ] == [False]


def test_a_share_of_leavers_that_cannot_be() -> None:
    now = Leavers(FIRST, 70, 99)
    assert rules(leavers_share(now, [])) == {"leavers_share"}
    before = [Leavers(FIRST.shift(-n), 1900, 7043) for n in (2, 1)]
    [finding] = leavers_share(Leavers(FIRST, 4900, 7043), before)
    assert finding.is_impossible
    assert finding.what == (
        "labels.csv of 2024-01 says that 4,900 of 7,043 (70%) left; in earlier months: "
        "2023-11 1,900 of 7,043 (27%), 2023-12 1,900 of 7,043 (27%)"
    )
    assert rules(leavers_share(Leavers(FIRST, 100, 7043), before)) == {"leavers_share"}  # too few
    assert leavers_share(Leavers(FIRST, 2600, 7043), before) == []  # a bad month is one
    assert leavers_share(Leavers(FIRST, 30, 60), [Leavers(FIRST.shift(-1), 8, 60)]) == []  # chance


@pytest.mark.parametrize("left", [0, 300])
def test_a_month_of_one_class_is_no_measure_for_the_next(left: int) -> None:
    one_class = Leavers(FIRST, left, 300)
    march = Leavers(FIRST.shift(2), 100, 300)
    assert leavers_share(Leavers(FIRST.next, 86, 300), [one_class]) == []
    assert leavers_share(march, [one_class, Leavers(FIRST.next, 86, 300)]) == []
    [finding] = leavers_share(march, [one_class, Leavers(FIRST.next, 9, 300)])
    assert finding.what == (
        "labels.csv of 2024-03 says that 100 of 300 (33%) left; in earlier months: "
        "2024-02 9 of 300 (3%)"
    )


@given(share=st.floats(0.005, 0.45), rows=st.integers(60, 20_000), seed=seeds)
def test_chance_alone_makes_no_share_impossible(share: float, rows: int, seed: int) -> None:
    left = np.random.default_rng(seed).binomial(rows, share, 4)
    months = [Leavers(FIRST.shift(n), int(count), rows) for n, count in enumerate(left)]
    assert rules(leavers_share(months[3], months[:3])) == set()
    assert rules(leavers_share(months[3], [])) == set()


def turned(labels: pa.Table) -> pa.Table:
    return labels.set_column(1, "churn_label", pc.invert(labels["churn_label"]))


def test_labels_that_the_next_month_belies(world: World) -> None:
    month, own = world[0]
    users, after = own[USERS.name]["user_id"], world[1][1][USERS.name]["user_id"]
    wrong = turned(own[LABELS.name])
    findings = labels_agree(month, wrong, users, after)
    left = leavers(month, wrong).left
    assert [f.is_impossible for f in findings] == [True, True]
    assert f"of {left} users who left by it, {left} are in users.csv of 2024-02" in text(findings)
    assert f"of {300 - left} users who stayed by it, {300 - left} are not in" in text(findings)


def test_a_next_month_that_cannot_be_says_nothing_about_labels(world: World) -> None:
    """Where it is a copy of this month, or of strangers, the labels are not to blame."""
    month, own = world[0]
    users = own[USERS.name]["user_id"]
    assert rules(labels_agree(month, own[LABELS.name], users, users)) == set()
    strangers = pa.chunked_array([[f"n{n}" for n in range(300)]])
    assert labels_agree(month, own[LABELS.name], users, strangers) == []


def test_another_months_labels(world: World) -> None:
    own: Files = world[0][1]
    findings = same_labels(FIRST.next, own[LABELS.name], FIRST)
    assert findings.is_impossible
    nobody = own[LABELS.name].filter(pc.invert(own[LABELS.name]["churn_label"]))
    assert not same_labels(FIRST.next, nobody, FIRST).is_impossible
