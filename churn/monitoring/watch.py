"""Watching one month: its scores are read, compared with what their release rests on, and the result stored.

`standing_alarms` returns the alarms that this raised. What they lead to is decided in
`churn_assets.automation`: a retraining, which the gate judges.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from churn.contract.in_force import VIEWS
from churn.database import connect, lock
from churn.database.copying import copy_out
from churn.errors import ChurnError
from churn.evaluation.money import Campaign
from churn.model.rows import is_holdout
from churn.monitoring.drift import Drift, Window, compare, drift_page_path, write_drift_page
from churn.monitoring.performance import (
    EARLIER_MONTHS,
    Performance,
    Scores,
    measure_performance,
)
from churn.monitoring.segments import measure_segments
from churn.monitoring.store import keep_drift, keep_performance, keep_segments
from churn.months import Month
from churn.promotion.arrivals import months_known, read_arrivals
from churn.promotion.ledger import Release, releases
from churn.promotion.registry import Registry, ReleaseRegistry
from churn.scoring.scores import features_of, scored_from
from churn.settings import get_settings
from churn.training.dataset import read_training_set, training_set_path, with_every_feature

_SCORES = pa.schema(
    [("user_id", pa.string()), ("probability", pa.float64()), ("is_action", pa.bool_())]
)


@dataclass(frozen=True)
class ScoredMonth:
    """A month's scores, and the release that they are from; None if there was no release yet."""

    release: Release | None
    scores: Scores

    @property
    def release_id(self) -> str | None:
        """The release's id, if there is one."""
        return self.release.release_id if self.release else None


@dataclass(frozen=True)
class WatchedDrift:
    """A month's drift and the path of its page; both are None if there was no release yet."""

    release: Release | None
    drift: Drift | None = None
    report: Path | None = None


@dataclass(frozen=True)
class WatchedPerformance:
    """A month's figures, of which there are none without a release.

    `waits_for` names what is missing for realised figures, or for any at all.
    """

    release: Release | None
    figures: list[Performance] = field(default_factory=list)
    waits_for: str = ""

    @property
    def alarms(self) -> list[str]:
        """Why the month is alarming, in words."""
        return [each.alarm for each in self.figures if each.alarm]


def read_scored(month: Month) -> ScoredMonth:
    """Read a month's scores, sorted by user.

    Raises:
        ChurnError: the month has not been scored.
    """
    runs = scored_from()
    if month not in runs:
        raise ChurnError(
            "the month has not been scored",
            where=f"churn_scores {month}",
            remedy=f"materialize churn_scores for {month.partition_key}",
        )
    query = sql.SQL(
        "SELECT user_id, probability, is_action FROM churn_scores WHERE as_of = {}"
        ' ORDER BY user_id COLLATE "C"'
    ).format(sql.Literal(month.as_of))
    with connect() as connection:
        rows = copy_out(connection, query, _SCORES)
    users, probabilities, contacted = (
        column.to_numpy(zero_copy_only=False) for column in rows.combine_chunks().columns
    )
    _, release_id = runs[month]
    release = releases()[release_id] if release_id else None
    return ScoredMonth(release, Scores(users, probabilities, contacted))


def watch_drift(month: Month, registry: Registry | None = None) -> WatchedDrift:
    """Compare a month with the training window of the release that scored it, and store the result."""
    import pandas as pd

    scored = read_scored(month)
    if scored.release is None:
        keep_drift(month, None, None)
        drift_page_path(month).unlink(missing_ok=True)
        return WatchedDrift(None)
    reference = _training_window(scored.release, registry or ReleaseRegistry())
    users = scored.scores.user_ids
    held = is_holdout(users)
    # A feature that is newer than the release cannot have drifted from it.
    views = [view.part(set(reference.features.columns)) for view in VIEWS]
    features = features_of(
        month, [view for view in views if view.features], pa.array(users, pa.string())
    )
    current = Window(month, features.to_pandas(), pd.Series(scored.scores.probabilities[held]))
    drift = compare(reference, current)
    keep_drift(month, scored.release.release_id, drift)
    return WatchedDrift(scored.release, drift, write_drift_page(drift))


def watch_performance(month: Month) -> WatchedPerformance:
    """Estimate the performance of a month's scores, measure it once labels have matured, and store both.

    The leavers of each segment of the contract are counted with it.

    Months are scored and trained on in either order; whichever comes first leaves the other to be
    waited for. What a month's labels teach is stored with the estimates of later months, too, so these come
    to the same in whatever order the months are worked on.

    Raises:
        ChurnError: no scored user has a label, or those who have are of one class.
    """
    watched = _watch_performance(month)
    if watched.release is not None and not watched.waits_for:
        for later in sorted(scored_from()):
            if later > month and month in _judged_before(later, watched.release):
                # What is wrong with the later month is said by its own step.
                with contextlib.suppress(ChurnError):
                    _watch_performance(later)
    return watched


def _watch_performance(month: Month) -> WatchedPerformance:
    with connect() as guard:
        # Of two that measure it at once, the one who has seen less must not write last.
        lock(guard, f"churn.performance {month}")
        if month not in scored_from():
            keep_performance(month, None, [])
            keep_segments(month, None, [])
            return WatchedPerformance(None, waits_for=f"churn_scores of {month}")
        scored = read_scored(month)
        waits_for, labels = "", None
        if training_set_path(month).exists():
            labels = read_training_set(month).rows.select(["user_id", "churn_label"])
            scored = _with_labels(scored, labels, month) if scored.release else scored
        else:
            waits_for = f"labels of {month}, which mature on {month.matures_at:%Y-%m-%d}"
        figures = _measured(scored, month) if scored.release else []
        keep_performance(month, scored.release_id, figures)
        keep_segments(month, scored.release_id, measure_segments(month, labels))
        return WatchedPerformance(scored.release, figures, waits_for)


def _measured(scored: ScoredMonth, month: Month) -> list[Performance]:
    settings, campaign = get_settings(), Campaign.of(get_settings().campaign)
    earlier = list(_earlier(month, scored.release)) if scored.release else []
    return measure_performance(scored.scores, campaign, settings.gate, earlier)


def _judged_before(month: Month, release: Release) -> list[Month]:
    """Return the newest months before that were scored by the same release and whose labels have matured."""
    runs = scored_from()
    if runs.get(month, (None, None))[1] != release.release_id:
        return []
    of_release = [m for m in sorted(runs) if runs[m][1] == release.release_id]
    judged = [m for m in of_release if release.month < m < month and training_set_path(m).exists()]
    return judged[-EARLIER_MONTHS:]


def _earlier(month: Month, release: Release) -> Iterator[Scores]:
    """Yield the scores of those months, with their labels."""
    for before in _judged_before(month, release):
        labels = read_training_set(before).rows.select(["user_id", "churn_label"])
        scores = _labelled(read_scored(before).scores, labels)
        # A month in which no scored user has a label says nothing.
        if scores is not None:
            yield scores


def _with_labels(scored: ScoredMonth, labels: pa.Table, month: Month) -> ScoredMonth:
    """Return the scores of those who have a label, with the labels as they were known when they matured."""
    scores = _labelled(scored.scores, labels)
    if scores is None:
        raise ChurnError("no scored user has a label", where=f"performance {month}")
    return ScoredMonth(scored.release, scores)


def _labelled(scores: Scores, labels: pa.Table) -> Scores | None:
    users = pa.array(scores.user_ids, pa.string())
    at = pc.index_in(users, value_set=labels["user_id"].combine_chunks())
    known = labels["churn_label"].combine_chunks().take(at)
    has_label = known.is_valid().to_numpy(zero_copy_only=False)
    if not has_label.any():
        return None
    part = scores.of(has_label)
    left = known.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    return Scores(part.user_ids, part.probabilities, part.contacted, left)


def _training_window(release: Release, registry: Registry) -> Window:
    import pandas as pd

    rows = read_training_set(release.month).rows
    held = rows.filter(pa.array(is_holdout(rows["user_id"].to_pylist())))
    scores = pd.Series(registry.probabilities(release, with_every_feature(held)))
    columns = set(rows.column_names)
    names = [name for view in VIEWS for name in view.feature_names if name in columns]
    return Window(release.month, rows.select(names).to_pandas(), scores)


Kind = Literal["drift", "performance"]


@dataclass(frozen=True)
class Alarm:
    """One month's alarm of one kind; `message` says what drifted, or what fell below the estimate."""

    kind: Kind
    month: Month
    release_id: str
    message: str

    @property
    def key(self) -> str:
        """Identifies the alarm, however often it is read."""
        return f"{self.kind}:{self.month}:{self.release_id[:12]}"

    def __str__(self) -> str:
        return f"{self.kind} in {self.month}: {self.message}"


def months_in_time() -> set[Month]:
    """Return the months whose labels and features were known in time; no others are trained on."""
    with connect() as connection:
        arrivals = read_arrivals(connection)
    months = months_known(arrivals, get_settings().first_month)
    return {each.month for each in months if each.state == "known"}


def standing_alarms() -> list[Alarm]:
    """Return the newest alarm of each kind about the release in force, the oldest month first.

    Alarms about a release that has since been replaced are settled.
    """
    with connect() as connection:
        rows = connection.execute(
            "SELECT kind, as_of, release_id, said FROM monitoring.alarms WHERE is_open"
            " ORDER BY as_of, kind"
        ).fetchall()
    return [
        Alarm(kind, Month.of_as_of(as_of), release_id, message)
        for kind, as_of, release_id, message in rows
    ]
