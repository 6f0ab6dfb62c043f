"""Batch scoring: every user's probability by the served file, compared with scikit-learn on the same rows."""

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.rows import Row, Spread, at_most
from bench.users import fit_uncalibrated, labelled_users
from bench.worker import Say, Timed, Worker, take_turns
from bench.world import Sizes, World
from churn.arrays import Floats, Floats32
from churn.contract.in_force import DEFAULT_SERVICE
from churn.model.kinds import FOREST, KINDS
from churn.model.onnx import TOLERANCE
from churn.settings import get_settings

# The baseline, which may be promoted by hand, and every kind of challenger.
SCORED = (FOREST, *KINDS)
SKLEARN = "scikit-learn predict_proba"
# Models are fitted on at most 100,000 users.
FULL_USERS, FULL_FIT = 1_000_000, 100_000
# Below full size, one in five users is fitted on.
FIT_SHARE = 5
NOTE = (
    "ours encodes Arrow rows and gives the API's bits; scikit-learn (n_jobs of the settings) takes rows that"
    " are encoded as its pipeline wants them; probabilities compared"
)


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    users = FULL_USERS if sizes.full else sizes.users
    fit_on = FULL_FIT if sizes.full else users // FIT_SHARE
    with world.state("batch_scoring") as settings:
        folder = settings.home / "models"
        with Worker() as worker:
            say(f"making {users:,} users, and fitting on {fit_on:,} of them")
            worker.run(prepare, folder, users, fit_on, sizes.seed)
        return [_row(kind.name, folder, users, fit_on, sizes, say) for kind in SCORED]


def _row(kind: str, folder: Path, users: int, fit_on: int, sizes: Sizes, say: Say) -> Row:
    with Worker() as ours, Worker() as peer:
        say(f"{kind}: opening")
        ours.run(open_ours, folder, kind)
        peer.run(open_sklearn, folder, kind)
        ways = {
            "ours": partial(ours.time, score_ours),
            SKLEARN: partial(peer.time, score_sklearn),
        }
        runs_by_way: dict[str, list[Timed]] = take_turns(ways, sizes, say)
        difference = float(
            np.abs(runs_by_way["ours"][0].value - runs_by_way[SKLEARN][0].value).max()
        )
        if not difference <= TOLERANCE:
            raise AssertionError(f"{kind}: the probabilities are {difference:g} apart")
        peaks = {"ours": ours.peak_mb(), SKLEARN: peer.peak_mb()}
    spreads = {way: Spread.of([run.seconds for run in runs]) for way, runs in runs_by_way.items()}
    seconds, theirs = spreads["ours"].median, spreads[SKLEARN].median
    return Row(
        f"batch scoring, {kind}",
        f"{users:,} users, fitted on {fit_on:,}",
        spreads["ours"],
        "s",
        beside={SKLEARN: spreads[SKLEARN]},
        peak_mb=peaks,
        goals=(
            at_most("seconds", seconds, 60, " s"),
            at_most("peak memory", peaks["ours"], 2_000, " MB"),
            at_most("ratio", seconds / theirs, 1),
        ),
        note=NOTE,
    )


def prepare(folder: Path, users: int, fit_on: int, seed: int) -> None:
    """Write the users' features as Parquet, and each kind of model as it is served and as it was fitted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from churn.lake.files import ARROW_TYPES
    from churn.model.fitted import to_onnx
    from churn.model.train import fit_baseline

    folder.mkdir(parents=True, exist_ok=True)
    frame = labelled_users(users, seed)
    schema = pa.schema([(f.name, ARROW_TYPES[f.dtype]) for f in DEFAULT_SERVICE.features])
    features = pa.Table.from_pandas(frame, schema=schema, preserve_index=False, safe=False)
    pq.write_table(features, folder / "features.parquet")
    baseline = fit_baseline(frame, DEFAULT_SERVICE, sample_limit=fit_on)
    for kind in SCORED:
        each = baseline if kind is FOREST else fit_uncalibrated(kind, baseline.data)
        (folder / f"{kind.name}.onnx").write_bytes(to_onnx(each))
        (folder / f"{kind.name}.pickle").write_bytes(pickle.dumps(each.pipeline))


@dataclass
class _Opened:
    """What a worker keeps between its runs."""

    model: Any
    rows: Any


_opened: list[_Opened] = []


def open_ours(folder: Path, kind: str) -> None:
    import pyarrow.parquet as pq

    from churn.model.onnx import open_session

    session = open_session((folder / f"{kind}.onnx").read_bytes())
    _opened.append(_Opened(session, pq.read_table(folder / "features.parquet")))


def score_ours() -> Floats32:
    from churn.model.encode import onnx_inputs_of_table
    from churn.model.onnx import score_in_blocks

    opened = _opened[-1]
    return score_in_blocks(
        opened.model, onnx_inputs_of_table(opened.rows, DEFAULT_SERVICE), get_settings().n_jobs
    )


def open_sklearn(folder: Path, kind: str) -> None:
    import pandas as pd

    from churn.model.encode import model_frame

    pipeline = pickle.loads((folder / f"{kind}.pickle").read_bytes())  # noqa: S301  (written above)
    if kind == FOREST.name:
        pipeline["forest"].n_jobs = get_settings().n_jobs
    rows = model_frame(pd.read_parquet(folder / "features.parquet"), DEFAULT_SERVICE)
    _opened.append(_Opened(pipeline, rows))


def score_sklearn() -> Floats:
    opened = _opened[-1]
    probabilities: Floats = opened.model.predict_proba(opened.rows)[:, 1]
    return probabilities
