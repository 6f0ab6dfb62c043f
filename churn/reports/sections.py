"""The sections of a month's report, each a few lines of Markdown from records."""

from collections.abc import Iterator, Sequence
from typing import Any

from churn.contract.features import SERVICES, versioned_name
from churn.contract.tables import CONTRACT
from churn.due import Kept, Stage, read_look
from churn.markdown import table
from churn.model.monthly import TrainedModel
from churn.monitoring.store import read_drift, read_performance
from churn.monitoring.tables import performance_table
from churn.months import Month
from churn.plausibility.confirmations import Confirmation, confirmations
from churn.promotion.ledger import entries, release_in_force
from churn.promotion.show import NO_RELEASE, evidence_table, sentence
from churn.promotion.timeline import decisions
from churn.reports.counts import deliveries, row_counts, score_counts
from churn.reports.proofs import proofs

_PARTS = (
    (
        "Postgres",
        "the system of record: deliveries, snapshots, decisions, scores, Feast's registry",
    ),
    ("Dagster", "runs the month, checks it, and shows what was made of what"),
    ("MLflow", "a record per materialization; models and their files"),
    ("Feast", "joins the past as it was known, and serves the newest month"),
    ("API", "answers features and predictions, by the release in force"),
)
_FARTHEST = 5


def head(month: Month) -> Iterator[str]:
    """What the page is about, and what runs."""
    yield f"# StreamFlow churn, {month}"
    yield ""
    yield f"AS_OF **{month.as_of_date}** (one instant: {month.as_of.isoformat()}); labels mature on"
    yield f"{month.matures_at.date()}. Generated from Postgres, MLflow and the running API,"
    yield f"by the contract `{CONTRACT.name}` of fingerprint `{CONTRACT.fingerprint}`."
    yield from ["", "## What runs, and why", ""]
    yield from table(("part", "what for"), _PARTS)


def data(month: Month) -> Iterator[str]:
    """Deliveries and rows."""
    yield from ["", "## Deliveries", ""]
    yield from table(("file", "rows", "known at", "sha256"), deliveries(month))
    if words := confirmations(month):
        yield from ["", "What cannot be, and was confirmed by a person:", ""]
        yield from table(("what", "when", "who", "reason"), map(_confirmation_row, words))
    yield from ["", "## Rows", ""]
    yield from table(("table or view", "rows"), row_counts(month))


def models(month: Month, found: Sequence[TrainedModel], pictures: Sequence[str]) -> Iterator[str]:
    """The models of the month, or until when they wait."""
    yield from ["", "## Models", ""]
    if found:
        yield from table(
            ("model", "service", "version", "rows", "AUC", "F1", "accuracy", "train time", "data"),
            map(_model_row, found),
        )
        yield from ["", "Judged on the hold-out: a quarter of all users, never trained on.", ""]
    else:
        yield f"None yet: {_why_not_yet(month, 'train_month') or _labels_mature(month)}."
        yield ""
    yield from (f"![plots of a model]({name})" for name in pictures)
    yield from ["", "Categorical columns, one-hot encoded by the model:", ""]
    for service in SERVICES:
        yield f"- `{service.versioned_name}`: {service.categorical_cols}"
    yield ""
    yield "AS_OF, the order of rows, the split and random_state are fixed, so the same drops give the"
    yield "same figures to the last bit."


def use(month: Month) -> Iterator[str]:
    """The scores and the action list."""
    yield from ["", "## Scores", ""]
    release, counts = release_in_force(month.as_of), score_counts(month)
    if release is None:
        yield f"None: {NO_RELEASE} on {month.as_of_date}."
        return
    yield (
        f"By release `{release.short_id}` (version {release.version}, {release.candidate} on"
        f" `{versioned_name(release.service)}`, trained on {release.month})."
    )
    if counts is None:
        yield "Not scored yet."
        return
    users, due, control, profit = counts
    yield ""
    yield from table(
        ("users scored", "on the action list", "left alone as control", "expected profit"),
        [(f"{users:,}", f"{due:,}", f"{control:,}", f"{profit:,.0f}")],
    )


def watch(month: Month) -> Iterator[str]:
    """Drift, and what the scores were worth."""
    yield from ["", "## Drift", ""]
    drift = read_drift(month)
    over = [row["feature"] for row in drift if row["is_drifted"]]
    yield f"Over their thresholds: {', '.join(over) or 'nothing'}." if drift else f"{NO_RELEASE}."
    if drift:
        yield ""
        yield from table(("column", "distance", "threshold"), map(_drift_row, drift[:_FARTHEST]))
        yield ""
        yield f"[All columns](drift/{month}.html)"
    yield from ["", "## Performance, estimated and realised", ""]
    yield performance_table(read_performance(month))


def decision(month: Month) -> Iterator[str]:
    """What the gate decided on the month's labels."""
    yield from ["", "## Decision", ""]
    found = decisions(entries()).get(month)
    behind = "" if found else _why_not_yet(month, "decision")
    yield f"{sentence(found)}{f': {behind}' if behind else ''}."
    if found:
        yield from ["", evidence_table(found)]


def proof(user_id: str) -> Iterator[str]:
    """Each service's own answer."""
    yield from ["", "## Proof of each service", ""]
    for each in proofs(user_id):
        yield from [f"```console\n$ {each.command}\n{each.answer}\n```", ""]


def behind() -> Iterator[str]:
    """What has failed or waits behind a failure, of whatever month, as of the pipeline's last look."""
    yield from ["", "## Months that are behind", ""]
    kept = read_look()
    if not kept:
        yield "None: nothing has failed, and nothing waits for what has."
        return
    yield from table(("month", "stage", "state", "what is known"), map(_behind_row, kept))


def _behind_row(each: Kept) -> Sequence[Any]:
    return each.month, each.stage, each.state, each.sentence.replace("|", "\\|")


def _why_not_yet(month: Month, stage: Stage) -> str:
    """Return what keeps a stage of the month, if something failed; empty where nothing has."""
    kept = (each.sentence for each in read_look() if (each.month, each.stage) == (month, stage))
    return next(kept, "")


def _labels_mature(month: Month) -> str:
    return f"the labels of {month} mature on {month.matures_at.date()}"


def _model_row(model: TrainedModel) -> Sequence[Any]:
    return (
        model.kind,
        model.service,
        model.version,
        f"{model.rows:,}",
        f"{model.metrics['auc']:.4f}",
        f"{model.metrics['f1']:.4f}",
        f"{model.metrics['accuracy']:.4f}",
        f"{model.metrics['train_time_sec']:.2f} s",
        f"`{model.fingerprint[:16]}`",
    )


def _confirmation_row(word: Confirmation) -> Sequence[Any]:
    return word.what, f"{word.recorded_at:%Y-%m-%d}", word.actor, word.reason


def _drift_row(row: dict[str, Any]) -> Sequence[Any]:
    threshold = f"{row['threshold']:.4f}{' provisional' if row['is_provisional'] else ''}"
    return row["feature"], f"{row['distance']:.4f}", threshold
