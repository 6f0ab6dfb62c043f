"""How far estimates are from what is realised, measured on simulated worlds in which nothing goes wrong.

`python -m churn.monitoring.estimate_errors` prints the tables of docs/monitoring.md (about five minutes).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from churn.evaluation.confidence import estimates
from churn.evaluation.money import Campaign, within_budget
from churn.markdown import table
from churn.model.kinds import BOOSTING, LOGISTIC, Kind
from churn.monitoring.false_alarms import Model, SeenMonth, play_months
from churn.monitoring.performance import EARLIER_MONTHS, JUDGES, Scores, measure_performance
from churn.settings import GateSettings

METRICS = ("auc", "churn_rate")
# The kinds that win among the candidates.
KINDS: tuple[Kind, ...] = (LOGISTIC, BOOSTING)
_CAMPAIGN, _GATE = Campaign(), GateSettings()


@dataclass(frozen=True)
class Error:
    """How far two estimates of a month's figure were too high, and whether their bounds held.

    The first takes every probability as it stands; the second, which is the one shown to users, has learned
    from earlier months. `trained` is the number of the month that the release was fitted on.
    """

    kind: str
    trained: int
    metric: str
    as_they_stand: float
    learned: float
    is_inside_as_they_stand: bool
    is_inside: bool
    is_alarm: bool


def errors_of(world: Sequence[SeenMonth], trained: int, kind: Kind) -> Iterator[Error]:
    """Yield the errors of every month after the one that a release of this kind was fitted on."""
    model = Model.fit(world[trained], kind)
    scored = [_scores(month, model) for month in world[trained + 1 :]]
    for at, scores in enumerate(scored):
        earlier = scored[max(0, at - EARLIER_MONTHS) : at]
        measured = measure_performance(scores, _CAMPAIGN, _GATE, earlier)
        held = scores.of(world[trained + 1 + at].held)
        plain = estimates(held.probabilities, held.contacted, _CAMPAIGN)
        for each in measured:
            if each.users != JUDGES or each.metric not in METRICS or each.realised is None:
                continue
            came, before = each.realised.estimate, plain[each.metric]
            yield Error(
                kind.name,
                trained,
                each.metric,
                before.estimate - came,
                each.estimated.estimate - came,
                before.low <= came <= before.high,
                each.estimated.low <= came <= each.estimated.high,
                bool(each.alarm),
            )


def _scores(month: SeenMonth, model: Model) -> Scores:
    probabilities = model.probabilities(month.frame)
    users = month.frame["user_id"].to_numpy(dtype=object)
    contacted = within_budget(probabilities, _CAMPAIGN)
    return Scores(users, probabilities, contacted, month.labels)


def summary(errors: Sequence[Error]) -> str:
    """Return a Markdown table with a row for each figure, month of training and kind."""
    groups = sorted({(e.metric, e.trained, e.kind) for e in errors})
    rows = [
        _row(group, [e for e in errors if (e.metric, e.trained, e.kind) == group])
        for group in groups
    ]
    head = (
        "figure", "trained in", "release", "months",
        "as they stand: mean error", "inside", "learned: mean error", "inside", "alarms",
    )  # fmt: skip
    return "\n".join(table(head, rows))


def _row(group: tuple[str, int, str], of: Sequence[Error]) -> list[str]:
    metric, trained, kind = group
    plain = np.mean([each.as_they_stand for each in of])
    inside_plain = np.mean([each.is_inside_as_they_stand for each in of])
    learned = np.mean([each.learned for each in of])
    inside = np.mean([each.is_inside for each in of])
    alarms = sum(each.is_alarm for each in of)
    return [
        metric, f"month {trained + 1}", kind, str(len(of)),
        f"{plain:+.4f}", f"{inside_plain:.0%}", f"{learned:+.4f}", f"{inside:.0%}", str(alarms),
    ]  # fmt: skip


def main() -> None:
    """Play the worlds and print the table."""
    parser = argparse.ArgumentParser(
        description="Hold estimates against what comes, in clean worlds."
    )
    parser.add_argument("--users", type=int, default=7_043)
    parser.add_argument("--months", type=int, default=11)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2, 3, 4])
    parser.add_argument("--trained", type=int, nargs="+", default=[0, 3])
    chosen = parser.parse_args()
    errors: list[Error] = []
    for seed in chosen.seeds:
        world = list(play_months(chosen.months, chosen.users, seed))
        for trained in chosen.trained:
            for kind in KINDS:
                errors += errors_of(world, trained, kind)
    print(summary(errors))  # noqa: T201


if __name__ == "__main__":
    main()
