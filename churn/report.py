"""The monthly report: one page for people about a month, in Markdown and in HTML, written from records alone.

Nothing new is computed here: rows are counted in Postgres, and figures are read from the records of models,
decisions and monitoring. Anything else that should be on the page must first be recorded by its own stage.
"""

import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from churn.contract.in_force import (
    CONTRACT,
    REGISTERED_MODEL,
    SERVICES,
    TABLES,
    VIEWS,
    versioned_name,
)
from churn.database import connect
from churn.database.online_tables import USERS
from churn.markdown import table, to_html
from churn.mlflow_client import mlflow_client
from churn.model.tracking import REPORT_PATH
from churn.model.train import TrainedModel, challenger, trained_models
from churn.monitoring.store import read_drift, read_performance
from churn.monitoring.tables import performance_table
from churn.months import Month
from churn.plausibility.confirmations import Confirmation, confirmations
from churn.promotion.entry import NO_RELEASE, decisions, evidence_table, sentence
from churn.promotion.ledger import entries, release_in_force
from churn.schedule.due import Stage
from churn.schedule.sentences import MonthBehind, read_months_behind
from churn.settings import get_settings

if TYPE_CHECKING:
    import httpx


def deliveries(month: Month) -> list[Sequence[Any]]:
    """Return file, rows, known_at and sha256 of each accepted version, and whether it could not be loaded."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT file, rows, known_at, sha256, unloadable FROM raw.deliveries WHERE month = %s"
            " ORDER BY file, known_at, delivery_id",
            [month.first_day],
        ).fetchall()
    return [
        (
            f"{file}.csv{' (not loaded)' if unloadable else ''}",
            f"{n:,}",
            f"{known:%Y-%m-%d}",
            f"`{sha[:16]}`",
        )
        for file, n, known, sha, unloadable in rows
    ]


def row_counts(month: Month) -> list[Sequence[Any]]:
    """Return the number of rows of each snapshot, and of the rows of each view online with this month."""
    counts: list[Sequence[Any]] = []
    with connect() as connection:
        for table in TABLES:
            name = f"{table.snapshot}_current"
            query = sql.SQL("SELECT count(*) FROM {} WHERE as_of = %s").format(sql.Identifier(name))
            row = connection.execute(query, [month.as_of]).fetchone()
            counts.append((name, f"{row[0]:,}" if row else 0))
        for view in VIEWS:
            query = sql.SQL("SELECT count(*) FROM {} WHERE as_of = %s AND {}").format(
                USERS, sql.Identifier(view.name)
            )
            row = connection.execute(query, [month.as_of]).fetchone()
            counts.append((f"{view.name} online with this month", f"{row[0]:,}" if row else 0))
    return counts


def score_counts(month: Month) -> Sequence[Any] | None:
    """Return how many users are scored, listed and left alone, and the expected profit of the list."""
    with connect() as connection:
        row = connection.execute(
            "SELECT count(*), count(a.user_id),"
            " count(*) FILTER (WHERE a.treatment_group = 'control'),"
            " coalesce(sum(s.expected_profit) FILTER (WHERE a.treatment_group = 'treated'), 0)"
            " FROM churn_scores AS s LEFT JOIN action_list AS a USING (as_of, user_id)"
            " WHERE as_of = %s",
            [month.as_of],
        ).fetchone()
    return row if row and row[0] else None


@dataclass(frozen=True)
class Proof:
    """One command that anybody can repeat, and its answer."""

    command: str
    answer: str


def proofs(user_id: str) -> Iterator[Proof]:
    """Ask Postgres, MLflow and the API as anybody may."""
    import httpx

    settings = get_settings()
    statement = "SELECT max(as_of)::date AS newest_published FROM online.publications"
    with connect() as connection:
        row = connection.execute(statement).fetchone()
    yield Proof(f'psql -Atc "{statement}"', str(row[0]) if row else "")
    api, mlflow = settings.smoke_url, settings.mlflow_tracking_uri
    # Whoever tries it has a key in this variable; the report names no key.
    by_key = ' -H "Authorization: Bearer $CHURN_API_KEY"' if settings.api_headers else ""
    with httpx.Client(timeout=10) as client:
        url = f"{mlflow}/health"
        yield Proof(f"curl -s {url}", _ask(client, "GET", url))
    with httpx.Client(timeout=10, headers=settings.api_headers) as client:
        for url in (f"{api}/health", f"{api}/features/{user_id}"):
            yield Proof(f"curl -s{by_key} {url}", _ask(client, "GET", url))
        url, body = f"{api}/predict", {"user_id": user_id}
        options = f"-H 'content-type: application/json'{by_key} -d '{json.dumps(body)}'"
        yield Proof(f"curl -s -X POST {url} {options}", _ask(client, "POST", url, body))


def _ask(client: "httpx.Client", method: str, url: str, body: dict[str, Any] | None = None) -> str:
    import httpx

    try:
        return client.request(method, url, json=body).text.strip()
    except httpx.HTTPError as error:
        return f"(no answer: {type(error).__name__})"


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


def _head(month: Month) -> Iterator[str]:
    """Yield what the page is about, and what runs."""
    yield f"# StreamFlow churn, {month}"
    yield ""
    yield f"AS_OF **{month.as_of_date}** (one instant: {month.as_of.isoformat()}); labels mature on"
    yield f"{month.matures_at.date()}. Generated from Postgres, MLflow and the running API,"
    yield f"by the contract `{CONTRACT.name}` of fingerprint `{CONTRACT.fingerprint}`."
    yield from ["", "## What runs, and why", ""]
    yield from table(("part", "what for"), _PARTS)


def _data(month: Month) -> Iterator[str]:
    """Yield deliveries and rows."""
    yield from ["", "## Deliveries", ""]
    yield from table(("file", "rows", "known at", "sha256"), deliveries(month))
    if words := confirmations(month):
        yield from ["", "What cannot be, and was confirmed by a person:", ""]
        yield from table(("what", "when", "who", "reason"), map(_confirmation_row, words))
    yield from ["", "## Rows", ""]
    yield from table(("table or view", "rows"), row_counts(month))


def _models(month: Month, models: Sequence[TrainedModel], pictures: Sequence[str]) -> Iterator[str]:
    """Yield the models of the month, or what they wait for."""
    yield from ["", "## Models", ""]
    if models:
        yield from table(
            ("model", "service", "version", "rows", "AUC", "F1", "accuracy", "train time", "data"),
            map(_model_row, models),
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


def _use(month: Month) -> Iterator[str]:
    """Yield the scores and the action list."""
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


def _watch(month: Month) -> Iterator[str]:
    """Yield drift and performance."""
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


def _decision(month: Month) -> Iterator[str]:
    """Yield what the gate decided on the month's labels."""
    yield from ["", "## Decision", ""]
    entry = decisions(entries()).get(month)
    behind = "" if entry else _why_not_yet(month, "decision")
    yield f"{sentence(entry)}{f': {behind}' if behind else ''}."
    if entry:
        yield from ["", evidence_table(entry)]


def _proof(user_id: str) -> Iterator[str]:
    """Yield each service's own answer."""
    yield from ["", "## Proof of each service", ""]
    for each in proofs(user_id):
        yield from [f"```console\n$ {each.command}\n{each.answer}\n```", ""]


def _behind() -> Iterator[str]:
    """Yield what has failed or waits behind a failure, in any month, when the pipeline last looked."""
    yield from ["", "## Months that are behind", ""]
    kept = read_months_behind()
    if not kept:
        yield "None: nothing has failed, and nothing waits for what has."
        return
    yield from table(("month", "stage", "state", "what is known"), map(_behind_row, kept))


def _behind_row(each: MonthBehind) -> Sequence[Any]:
    return each.month, each.stage, each.state, each.sentence.replace("|", "\\|")


def _why_not_yet(month: Month, stage: Stage) -> str:
    """Return the failure that holds up a stage of the month, or an empty text if there is none."""
    kept = (
        each.sentence for each in read_months_behind() if (each.month, each.stage) == (month, stage)
    )
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


def write_report(month: Month, user_id: str) -> tuple[Path, str]:
    """Write `<month>.md` and `<month>.html` in the reports folder; return the path and text of the first.

    Args:
        month: the month.
        user_id: the user of the worked example.
    """
    best = challenger(month)
    models = [*trained_models(month), *([best] if best else [])]
    folder = get_settings().reports
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(_lines(month, models, _pictures(month, models[-1:], folder), user_id)) + "\n"
    path = folder / f"{month}.md"
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".html").write_text(
        to_html(text, f"StreamFlow churn, {month}"), encoding="utf-8"
    )
    return path, text


def _lines(
    month: Month, models: Sequence[TrainedModel], pictures: Sequence[str], user_id: str
) -> itertools.chain[str]:
    return itertools.chain(
        _head(month),
        _data(month),
        _models(month, models, pictures),
        _decision(month),
        _use(month),
        _watch(month),
        _behind(),
        _proof(user_id),
    )


def _pictures(month: Month, models: Sequence[TrainedModel], folder: Path) -> list[str]:
    """Fetch the plots of models from their MLflow runs, and return the names of the files."""
    client, names = mlflow_client(), []
    for model in models:
        version = client.get_model_version(REGISTERED_MODEL, model.version)
        with tempfile.TemporaryDirectory() as temporary:
            path = client.download_artifacts(version.run_id, REPORT_PATH, temporary)
            names.append(f"{month}-{model.kind}.png")
            (folder / names[-1]).write_bytes(Path(path).read_bytes())
    return names
