"""Played months put where the graph would have put them: lake, training set, scores, releases."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.in_force import DEFAULT_SERVICE, VIEWS
from churn.contract.structure import Service
from churn.database import connect
from churn.database.copying import copy_in
from churn.lake.files import lake_file, schema_of
from churn.monitoring.false_alarms import Model, SeenMonth
from churn.months import Month
from churn.promotion.ledger import Release
from churn.scoring.scores import rank
from churn.training.dataset import schema, training_set_path
from tests.kit.releases import draft, release, written
from tests.kit.watched_months import CAMPAIGN


@dataclass
class FakeRegistry:
    """Scores by a formula instead of a file."""

    model: Model

    def probabilities(self, _: Release, rows: pa.Table) -> np.ndarray:
        return self.model.probabilities(rows.to_pandas())

    def service(self, _: Release) -> Service:
        return DEFAULT_SERVICE

    def challenger(self, month: Month) -> Release | None:
        raise NotImplementedError

    def serve(self, chosen: Release | None) -> None:
        raise NotImplementedError


def released(trained_on: Month) -> Release:
    """A release that has been in force since the labels of its month matured."""
    one = release("one", trained_on)
    written(draft(trained_on, one.release_id, champion=None), kept=(one,))
    return one


def put_lake(month: Month, seen: SeenMonth) -> None:
    frame = seen.frame.sort_values("user_id").assign(
        as_of=month.as_of, known_at=month.as_of, is_withdrawn=False
    )
    for view in VIEWS:
        wanted = schema_of(view)
        path = lake_file(view, month)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_table(frame, wanted), path)


def put_training_set(month: Month, seen: SeenMonth) -> None:
    frame = seen.frame.assign(as_of=month.as_of, churn_label=seen.labels == 1)
    path = training_set_path(month)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(_table(frame.sort_values("user_id"), schema()), path)


def put_scores(month: Month, seen: SeenMonth, by: Release | None, model: Model) -> None:
    """Score a month as `churn_scores` does; nobody without a release."""
    with connect() as connection:
        connection.execute(
            "INSERT INTO churn_score_runs (as_of, known_at, release_id) VALUES (%s, %s, %s)",
            [month.as_of, month.as_of, by.release_id if by else None],
        )
        if by:
            users = pa.array(seen.frame["user_id"], pa.string())
            probabilities = model.probabilities(seen.frame)
            rows = rank(month, by.release_id, users, probabilities, CAMPAIGN)
            copy_in(connection, sql.Identifier("churn_scores"), rows)


def _table(frame: pd.DataFrame, wanted: pa.Schema) -> pa.Table:
    columns: list[Any] = [
        pa.array(frame[field.name], type=field.type, from_pandas=True, safe=False)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)
