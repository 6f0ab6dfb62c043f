"""What calls bring: known answers, a planted effect that is found, and no claims without a control group."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from churn.database import connect
from churn.errors import ChurnError
from churn.evaluation.money import Campaign
from churn.population.process import treat
from churn.population.scenario import Scenario, Treated
from churn.population.simulate import play, true_effect
from churn.scoring.control_group import BANDS, control_group
from churn.scoring.uplift import (
    FEWEST,
    NotClaimed,
    Uplift,
    measure_uplift,
    measure_uplift_by_segment,
    sentence,
    uplift_of,
)
from churn.settings import Settings, get_settings
from tests.kit.action_lists import MAY, USERS, campaign_month, put_labels, put_list, report
from tests.kit.intervals import added_up


def bands_of(users: int) -> np.ndarray:
    bands = np.empty(users, dtype=np.int64)
    for band, inside in enumerate(np.array_split(np.arange(users), BANDS)):
        bands[inside] = band
    return bands


def test_one_band_is_newcombes_interval_as_statsmodels_has_it() -> None:
    left = np.repeat([True, False, True, False], [30, 70, 20, 20])
    is_control = np.repeat([False, True], [100, 40])
    treated, control, interval = uplift_of(left, is_control, np.zeros(140, dtype=np.int64))
    assert (treated, control, interval.estimate) == (0.3, 0.5, pytest.approx(0.2))
    expected = confint_proportions_2indep(20, 40, 30, 100, method="newcomb", compare="diff")
    assert (interval.low, interval.high) == pytest.approx(expected)


def test_bands_are_compared_within_themselves() -> None:
    # In each band treating halves churn; the control group stands mostly where churn is high.
    left = np.concatenate([np.repeat([1, 0, 1, 0], n) for n in ([40, 60, 40, 10], [9, 91, 2, 8])])
    is_control = np.repeat([False, True, False, True], [100, 50, 100, 10])
    bands = np.repeat([0, 1], [150, 110])
    treated, control, interval = uplift_of(left.astype(bool), is_control, bands)
    assert (treated, control) == (pytest.approx(0.245), pytest.approx(0.5))
    assert interval.estimate == pytest.approx(0.5 * (0.8 - 0.4) + 0.5 * (0.2 - 0.09))


def test_a_band_without_a_control_user_is_joined_to_the_others() -> None:
    left = np.tile([True, False], 60)
    is_control = np.arange(120) < 40
    _, _, interval = uplift_of(left, is_control, np.repeat([0, 1], [60, 60]))
    assert interval.estimate == pytest.approx(0)


@pytest.mark.parametrize(
    ("treated", "control", "message"),
    [
        (100, 0, "no control group"),
        (100, 19, "19 users in the control"),
        (19, 100, "19 users to treat"),
    ],
)
def test_no_claim_without_enough_users_on_both_sides(
    treated: int, control: int, message: str
) -> None:
    is_control = np.repeat([False, True], [treated, control])
    left = np.zeros(len(is_control), dtype=bool)
    with pytest.raises(ChurnError, match=message):
        uplift_of(left, is_control, bands_of(len(is_control)))


@pytest.mark.parametrize("log_odds", [-1.0, -0.4, 0.0])
def test_the_interval_covers_a_planted_effect_as_often_as_it_says(log_odds: float) -> None:
    oracle = list(play(first=MAY, months=2))[1].oracle.nlargest(600, "churn_probability")
    users = oracle["user_id"].to_list()
    before = oracle["churn_probability"].to_numpy()
    covered, shown, seeds = 0, 0, 400
    for seed in range(seeds):
        is_control = control_group(MAY.shift(seed), users, 0.1)
        called = Treated(frozenset(oracle["user_id"][~is_control]), log_odds)
        after = treat(before, oracle["user_id"], called)
        left = np.random.default_rng(seed).random(len(users)) < after
        _, _, interval = uplift_of(left, is_control, bands_of(len(users)))
        covered += interval.low <= float((before - after)[~is_control].mean()) <= interval.high
        shown += interval.low > 0
    assert 0.92 <= covered / seeds <= 0.99
    if log_odds == 0:
        assert shown / seeds <= 0.05  # savings that are none
    if log_odds == -1:
        assert shown / seeds > 0.5


@pytest.mark.parametrize(("seed", "log_odds"), list(itertools.product(range(3), (-1.2, 0.0))))
def test_a_simulated_campaign_is_measured_end_to_end(
    settings: Settings, tmp_path: Path, seed: int, log_odds: float
) -> None:
    def world(scenario: Scenario):
        return list(play(first=MAY.shift(-1), months=2, users=4_000, seed=seed, scenario=scenario))

    due = world(Scenario())[1].oracle.nlargest(700, "churn_probability")["user_id"].to_list()
    is_control = control_group(MAY, due, 0.1)
    control = [u for u, alone in zip(due, is_control, strict=True) if alone]
    put_list(MAY, due, control)
    called = Treated(frozenset(due) - frozenset(control), log_odds)
    oracle = world(Scenario(treated={1: called}))[1].oracle
    left = set(oracle["user_id"][oracle["churn_label"]])
    put_labels(MAY, sorted(left), sorted(set(oracle["user_id"]) - left))
    report(tmp_path, sorted(called.user_ids))

    uplift = measure_uplift(MAY)
    assert isinstance(uplift, Uplift)
    truth = true_effect(oracle, called)
    assert uplift.uplift.low <= truth <= uplift.uplift.high
    if log_odds == 0:
        assert truth == 0
        assert not uplift.is_shown
    assert (uplift.treated, uplift.control) == (len(due) - len(control), len(control))
    assert (uplift.contacted, uplift.breaches, uplift.unlabelled) == (uplift.treated, 0, 0)
    campaign = Campaign.of(get_settings().campaign)
    stayed = len(called.user_ids - left)
    assert uplift.cost == uplift.treated * campaign.contact_cost + stayed * campaign.incentive_cost
    assert uplift.saved_users == tuple(uplift.treated * bound for bound in uplift.uplift)
    assert uplift.profit.low <= campaign.customer_value * truth * uplift.treated - uplift.cost
    assert uplift.profit.high >= campaign.customer_value * truth * uplift.treated - uplift.cost


def test_nothing_is_claimed_before_the_labels_are_there(settings: Settings, tmp_path: Path) -> None:
    campaign_month(tmp_path)
    uplift = measure_uplift(MAY)
    assert isinstance(uplift, NotClaimed)
    assert sentence(uplift) == (
        "2024-05: no savings are claimed: the labels are not here; they mature at 2024-06-30"
    )
    put_labels(MAY, USERS[:100], USERS[100:])
    assert isinstance(measure_uplift(MAY), Uplift)


@pytest.mark.parametrize(
    ("control", "message"),
    [(0, "no control group was left alone"), (10, "10 users in the control")],
)
def test_no_savings_without_a_control_group(
    settings: Settings, tmp_path: Path, control: int, message: str
) -> None:
    campaign_month(tmp_path, control=control)
    put_labels(MAY, USERS[:10], USERS[10:])  # hardly anybody left: tempting
    uplift = measure_uplift(MAY)
    assert isinstance(uplift, NotClaimed)
    assert message in uplift.reason
    assert uplift.listed == len(USERS)


def test_no_list_and_no_report_claim_nothing(settings: Settings) -> None:
    assert measure_uplift(MAY) == NotClaimed(MAY, "there is no action list")
    put_list(MAY, USERS, USERS[::10])
    put_labels(MAY, USERS[:100], USERS[100:])
    uplift = measure_uplift(MAY)
    assert isinstance(uplift, NotClaimed)
    assert "no treatment was reported" in uplift.reason


def test_breaches_and_users_without_a_label_are_counted(settings: Settings, tmp_path: Path) -> None:
    put_list(MAY, USERS, USERS[::10])
    report(tmp_path, USERS[:21])
    put_labels(MAY, USERS[5:100], USERS[100:])
    uplift = measure_uplift(MAY)
    assert isinstance(uplift, Uplift)
    assert (uplift.breaches, uplift.contacted, uplift.unlabelled) == (3, 18, 5)
    assert (uplift.treated, uplift.control) == (266, 29)


def test_later_corrections_of_labels_count(settings: Settings, tmp_path: Path) -> None:
    campaign_month(tmp_path)
    put_labels(MAY, USERS[:100], USERS[100:])
    first = measure_uplift(MAY)
    with connect() as connection:
        connection.execute(
            "INSERT INTO labels_snapshots (user_id, as_of, known_at, churn_label)"
            " SELECT user_id, as_of, known_at + interval '40 days', true FROM labels_snapshots"
        )
    second = measure_uplift(MAY)
    assert isinstance(first, Uplift)
    assert isinstance(second, Uplift)
    assert (second.churn_treated, second.churn_control) == (1, 1)
    assert first.churn_treated < 1


@pytest.mark.parametrize("log_odds", [-1.0, 0.0])
def test_the_interval_of_several_months_covers_their_sum_as_often_as_it_says(
    log_odds: float,
) -> None:
    oracle = list(play(first=MAY, months=2))[1].oracle.nlargest(400, "churn_probability")
    users = oracle["user_id"].to_list()
    before = oracle["churn_probability"].to_numpy()
    covered, rounds, months = 0, 200, 3
    for seed in range(rounds):
        intervals, truth = [], 0.0
        for number in range(months):
            is_control = control_group(MAY.shift(months * seed + number), users, 0.15)
            called = Treated(frozenset(oracle["user_id"][~is_control]), log_odds)
            after = treat(before, oracle["user_id"], called)
            left = np.random.default_rng([seed, number]).random(len(users)) < after
            intervals.append(uplift_of(left, is_control, bands_of(len(users)))[2])
            truth += float((before - after)[~is_control].mean())
        total = added_up(intervals)
        covered += total.low <= truth <= total.high
    assert 0.92 <= covered / rounds <= 0.995


def put_segments(levels: dict[str, str]) -> None:
    """Write each user's level of the segment `plan` into May's list."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE action_list SET segments = jsonb_build_object('plan', %s::text) WHERE user_id = %s",
            [(level, user) for user, level in levels.items()],
        )


@pytest.mark.parametrize("seed", range(3))
def test_levels_part_the_list_and_each_is_measured_alone(
    settings: Settings, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    campaign_month(tmp_path, control=100, called=150)
    levels = dict(
        zip(USERS, rng.choice(["a", "b", "rare"], len(USERS), p=[0.5, 0.4, 0.1]), strict=True)
    )
    put_segments({user: str(level) for user, level in levels.items()})
    left = [user for user in USERS if rng.random() < 0.3]
    assert measure_uplift_by_segment(MAY) == {}  # there are no labels yet
    put_labels(MAY, left, sorted({*USERS} - {*left}))
    whole, by_level = measure_uplift(MAY), measure_uplift_by_segment(MAY)
    assert isinstance(whole, Uplift)
    assert {segment for segment, _ in by_level} == {"plan"}
    measured = {level: each for (_, level), each in by_level.items()}
    rare = measured.pop("rare")
    assert isinstance(rare, NotClaimed)
    assert f"it takes {FEWEST}" in rare.reason
    alone = set(USERS[::3][:100])
    for level, each in measured.items():
        assert isinstance(each, Uplift)
        inside = [user for user in USERS if levels[user] == level]
        of_left = np.array([user in left for user in inside])
        is_control = np.array([user in alone for user in inside])
        assert (each.treated, each.control) == ((~is_control).sum(), is_control.sum())
        assert each.churn_treated == pytest.approx(of_left[~is_control].mean())
        assert each.uplift.estimate == pytest.approx(
            of_left[is_control].mean() - of_left[~is_control].mean()
        )
        assert each.uplift.low < each.uplift.estimate < each.uplift.high
    assert sum(each.contacted for each in measured.values()) <= whole.contacted == 150


def test_a_level_in_which_nobody_was_called_says_so(settings: Settings, tmp_path: Path) -> None:
    campaign_month(tmp_path, called=100)
    levels = {user: "first" if n < 150 else "last" for n, user in enumerate(USERS)}
    put_segments(levels)
    put_labels(MAY, USERS[:100], USERS[100:])
    by_level = measure_uplift_by_segment(MAY)
    assert by_level["plan", "last"] == NotClaimed(MAY, "nobody of these users was called", 150)
    assert "no treatment" not in sentence(by_level["plan", "first"])


def test_one_level_of_everybody_counts_what_the_whole_list_counts(
    settings: Settings, tmp_path: Path
) -> None:
    campaign_month(tmp_path)
    put_segments(dict.fromkeys(USERS, "all"))
    put_labels(MAY, USERS[:100], USERS[100:])
    whole, [only] = measure_uplift(MAY), measure_uplift_by_segment(MAY).values()
    assert isinstance(whole, Uplift)
    assert isinstance(only, Uplift)
    for name in ("treated", "control", "churn_treated", "cost", "contacted", "breaches"):
        assert getattr(only, name) == pytest.approx(getattr(whole, name))


def test_a_list_without_segments_is_measured_as_a_whole_only(
    settings: Settings, tmp_path: Path
) -> None:
    campaign_month(tmp_path)
    put_labels(MAY, USERS[:100], USERS[100:])
    assert isinstance(measure_uplift(MAY), Uplift)
    assert measure_uplift_by_segment(MAY) == {}


def test_a_saved_user_is_worth_what_the_treated_users_are_worth(
    settings: Settings, tmp_path: Path
) -> None:
    campaign_month(tmp_path)
    put_labels(MAY, USERS[:100], USERS[100:])
    of_one_value = measure_uplift(MAY)
    assert isinstance(of_one_value, Uplift)
    worth = {user: 100.0 + 10 * n for n, user in enumerate(USERS)}
    with connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE churn_scores SET customer_value = %s WHERE user_id = %s",
            [(value, user) for user, value in worth.items()],
        )
    measured = measure_uplift(MAY)
    assert isinstance(measured, Uplift)
    assert (measured.saved_users, measured.cost) == (of_one_value.saved_users, of_one_value.cost)
    alone = set(USERS[::10])
    mean = np.mean([value for user, value in worth.items() if user not in alone])
    for saved, profit in zip(measured.saved_users, measured.profit, strict=True):
        assert profit == pytest.approx(mean * saved - measured.cost)


def test_the_bands_are_those_that_the_control_group_was_drawn_in(
    settings: Settings, tmp_path: Path
) -> None:
    """Whoever is erased leaves the others where they were."""
    campaign_month(tmp_path)
    put_labels(MAY, USERS[:100], USERS[100:])
    bands = dict(zip(USERS, bands_of(len(USERS)) + 1, strict=True))
    gone = USERS[:30]
    with connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE action_list SET band = %s WHERE user_id = %s",
            [(int(band), user) for user, band in bands.items()],
        )
        for table in ("action_list", "churn_scores"):
            connection.execute(f"DELETE FROM {table} WHERE user_id = ANY(%s)", [gone])
    here = USERS[30:]
    treated, control, interval = uplift_of(
        np.array([user in USERS[:100] for user in here]),
        np.array([user in USERS[::10] for user in here]),
        np.array([bands[user] for user in here]),
    )
    measured = measure_uplift(MAY)
    assert isinstance(measured, Uplift)
    assert (measured.churn_treated, measured.churn_control) == (treated, control)
    assert measured.uplift == interval
