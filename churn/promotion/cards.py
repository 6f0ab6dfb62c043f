"""The model card of each release: Markdown written from its records, kept in the reports and in MLflow.

Model cards: Mitchell et al., 2019, https://arxiv.org/abs/1810.03993
"""

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from churn.arrays import Floats
from churn.contract.in_force import CONTRACT, REGISTERED_MODEL, versioned_name
from churn.evaluation.bootstrap import MEASURES, intervals
from churn.evaluation.metrics import CONFUSION, calibration_bound, evaluate
from churn.evaluation.segments import SegmentFigures, by_segment
from churn.markdown import plain, table, to_html
from churn.mlflow_client import mlflow_client
from churn.promotion import ledger
from churn.promotion.entry import Entry, evidence_table, interval
from churn.promotion.ledger import Release
from churn.promotion.measure import Panel, read_panel
from churn.promotion.registry import ReleaseRegistry, version_of
from churn.retry import is_passing
from churn.settings import GateSettings, get_settings
from churn.training.dataset import training_set_path

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Records:
    """What a card is written from.

    `entry` is the first one that put the release in force. `lineage` leads from its training set down to the
    delivered files. `panel` are the hold-out users that it is judged on, and `probabilities` the release's
    for them; both are None where their month is not here.
    """

    release: Release
    entry: Entry
    lineage: dict[str, Any]
    panel: Panel | None
    probabilities: Floats | None
    gate: GateSettings


def card(records: Records) -> str:
    """Return the card's text; the same records give the same bytes."""
    return "\n".join(_lines(records)) + "\n"


def _lines(records: Records) -> Iterator[str]:
    release, entry = records.release, records.entry
    yield f"# Release {release.short_id}"
    yield ""
    yield (
        f"P(a user of {CONTRACT.name} leaves within the following month). A {release.candidate} on the"
        f" features of `{versioned_name(release.service)}`, in force from {entry.decided_for:%Y-%m-%d}."
    )
    yield from ["", "## What it is", ""]
    yield from table(("part", "value"), _parts(release))
    yield from ["", "## Why it is in force", ""]
    yield f"Entry {entry.seq} of the promotion ledger: {entry.kind}, by {entry.actor}."
    yield ""
    yield from (f"- {reason}" for reason in entry.reasons)
    yield from ["", evidence_table(entry)]
    yield from ["", "## How good it is", ""]
    yield from _figures(records)
    yield from ["", "## Limits", ""]
    yield from (f"- {limit}" for limit in _limits(records))
    yield from ["", "## Where its data come from", ""]
    for each in [*records.lineage.get("window", []), records.lineage]:
        yield from _lineage(each)


def _parts(release: Release) -> list[tuple[str, str]]:
    return [
        ("release", f"`{release.release_id}`"),
        (f"version of `{REGISTERED_MODEL}`", release.version),
        ("feature service", f"`{versioned_name(release.service)}`"),
        ("candidate", release.candidate),
        ("threshold", f"{release.threshold:.4f}"),
        ("calibration", release.calibration),
        ("label period", f"{release.month}, AS_OF {release.as_of}"),
        ("labels known at", f"{release.month.matures_at:%Y-%m-%d}"),
        ("training set", f"`{release.fingerprint}`"),
        ("ONNX file", f"`{release.onnx_sha256}`"),
        ("feature schema", f"`{release.schema_sha256}`"),
        ("contract", f"`{release.contract}`" if release.contract else "of before it was recorded"),
    ]


def _figures(records: Records) -> Iterator[str]:
    panel, probabilities = records.panel, records.probabilities
    if panel is None or probabilities is None:
        yield f"Not judged: the training set of {records.release.month} is not here."
        return
    figures = evaluate(panel.labels, probabilities, records.release.threshold)
    bounds = intervals(
        panel.labels,
        probabilities,
        tuple(MEASURES),
        confidence=records.gate.confidence,
        resamples=records.gate.resamples,
    )
    yield (
        f"On {len(panel.labels):,} users of {panel.month} who are held out of every training;"
        f" intervals at {records.gate.confidence:.0%}, by bootstrap."
    )
    yield ""
    rows = [(name, interval(figure._asdict())) for name, figure in bounds.items()]
    rows += [
        (name, f"{value:.4f}")
        for name, value in figures.items()
        if name not in {*bounds, *CONFUSION, "holdout_churn_rate"}
    ]
    rows += [(name, f"{figures[name]:,.0f}") for name in CONFUSION]
    yield from table(("figure", "value"), rows)
    yield from ["", "By segment:", ""]
    segments = by_segment(panel.frame, panel.labels, probabilities, records.release.threshold)
    yield from table(
        ("segment", "level", "users", "left", "predicted", "F1", "AUC"), map(_segment_row, segments)
    )


def _segment_row(figures: SegmentFigures) -> Sequence[str]:
    return (
        figures.segment,
        plain(figures.level),
        f"{figures.users:,}",
        f"{figures.churn_rate:.3f}",
        f"{figures.mean_probability:.3f}",
        f"{figures.f1:.3f}",
        interval(figures.auc._asdict()) if figures.auc else "too few users",
    )


def _limits(records: Records) -> Iterator[str]:
    release, panel, probabilities = records.release, records.panel, records.probabilities
    months = [*(each["month"] for each in records.lineage.get("window", [])), str(release.month)]
    span = f"{len(months)} label periods, {months[0]} to" if months[1:] else "one label period,"
    yield f"It was fitted on {span} {release.month}: what is new since, it has not seen."
    yield "It says who is likely to leave, not who stays because of an offer."
    if release.calibration == "none":
        yield "Its probabilities are not calibrated: rank by them, do not add them up."
    if panel is None or probabilities is None:
        return
    if panel.month == release.month:
        yield "It is judged on users it has not seen, but in its own month; see realised performance."
    users = len(panel.labels)
    error = evaluate(panel.labels, probabilities, release.threshold)["calibration_error"]
    verb = "is within" if error <= calibration_bound(users) else "exceeds"
    yield (
        f"Its calibration error {error:.4f} {verb} what sampling explains for {users:,} users"
        f" ({calibration_bound(users):.4f})."
    )
    few = [
        f"{each.segment} {plain(each.level)}"
        for each in by_segment(panel.frame, panel.labels, probabilities, release.threshold)
        if each.auc is None
    ]
    if few:
        yield f"Too few users to judge it on: {', '.join(few)}."


def _lineage(lineage: dict[str, Any]) -> Iterator[str]:
    if "deliveries" not in lineage:
        yield "Its run has no record of it."
        return
    yield (
        f"Training set {lineage['training_set']['file']}, {lineage['training_set']['rows']:,} rows:"
        f" features known at {lineage['features_known_at']}, labels known at"
        f" {lineage['labels_known_at']}."
    )
    yield ""
    yield from table(
        ("file", "delivery", "rows", "known at", "sha256"),
        (
            (
                f"{each['file']}.csv",
                str(each["delivery_id"]),
                f"{each['rows']:,}",
                each["known_at"],
                f"`{each['sha256']}`",
            )
            for each in lineage["deliveries"]
        ),
    )


# The folder among the artefacts of a version's run.
CARD_FOLDER = "card"


def card_path(release: Release) -> Path:
    """Return the path of a release's card; its HTML lies beside it."""
    return get_settings().reports / "releases" / f"{release.short_id}.md"


def write_missing_cards() -> list[Path]:
    """Write the card of every promoted release that has none yet, and return the paths of those written.

    A release whose card cannot be written, since its version was deleted in MLflow for instance, is named in
    the log and left out: it must not hold up what is decided on others. A fault that passes is raised.
    """
    promoted: dict[str, Entry] = {}
    for entry in ledger.entries():
        if entry.outcome == "promote" and entry.release_id:
            promoted.setdefault(entry.release_id, entry)
    kept = ledger.releases()
    written = []
    for release_id, entry in promoted.items():
        release = kept[release_id]
        if card_path(release).with_suffix(".html").exists():
            continue
        try:
            written.append(_write(release, entry))
        except Exception as error:
            if is_passing(error):
                raise
            _LOG.warning("the card of release %s cannot be written: %s", release.short_id, error)
    return written


def _write(release: Release, entry: Entry) -> Path:
    text = card(_records(release, entry))
    path = card_path(release)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    html = to_html(text, f"Release {release.short_id}")
    client = mlflow_client()
    run_id = str(version_of(release).run_id)
    client.log_text(run_id, text, f"{CARD_FOLDER}/model_card.md")
    client.log_text(run_id, html, f"{CARD_FOLDER}/model_card.html")
    # Written last: a card whose HTML exists is complete.
    path.with_suffix(".html").write_text(html, encoding="utf-8")
    return path


def _records(release: Release, entry: Entry) -> Records:
    month = entry.month or release.month
    panel = read_panel(month) if training_set_path(month).exists() else None
    return Records(
        release,
        entry,
        _lineage_of(release),
        panel,
        ReleaseRegistry().probabilities(release, panel.frame) if panel else None,
        get_settings().gate,
    )


def _lineage_of(release: Release) -> dict[str, object]:
    client = mlflow_client()
    run_id = str(version_of(release).run_id)
    if not any(each.path == "lineage.json" for each in client.list_artifacts(run_id)):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(client.download_artifacts(run_id, "lineage.json", folder))
        lineage: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return lineage
