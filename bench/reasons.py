"""Reason codes: the three strongest reasons of each user, by kind of challenger, compared with shap."""

import dataclasses
import pickle
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.rows import Goal, Row, Spread, at_least, at_most
from bench.users import fit_uncalibrated, labelled_users
from bench.worker import Say, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.in_force import DEFAULT_SERVICE
from churn.model.encode import model_frame, onnx_inputs
from churn.model.fitted import Explainer, explainer_of
from churn.model.kinds import BOOSTING, KINDS, SHALLOW_FOREST

SHAP = "shap TreeExplainer"
# Seconds are given per this many users.
PER = 10_000
# The users of an action list, for which there is a goal.
LISTED = 50_000
USERS, FULL_USERS = 10_000, LISTED
# The most users that shap explains.
PEER_USERS = {BOOSTING.name: LISTED, SHALLOW_FOREST.name: 2_000}
TOLERANCE = 1e-5
NOTE = (
    "ours names reasons in words, shap gives values only; values compared, feature by feature. open_s: once"
    " for each version and process"
)


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    users = min(FULL_USERS if sizes.full else USERS, sizes.users)
    with world.state("reasons") as settings:
        folder = settings.home / "models"
        with Worker() as worker:
            say(f"fitting on {sizes.base_users:,} users")
            worker.run(prepare, folder, sizes.base_users, users, sizes.seed)
        return [_row(kind.name, folder, users, sizes, say) for kind in KINDS]


def _row(kind: str, folder: Path, users: int, sizes: Sizes, say: Say) -> Row:
    with Worker() as ours, Worker() as peer:
        ours.run(open_ours, folder, kind, users)
        ways = {"ours": partial(ours.run, explain)}
        if kind in PEER_USERS:
            peer.run(open_shap, folder, kind, min(users, PEER_USERS[kind]))
            ways[SHAP] = partial(peer.run, explain_by_shap)
        runs_by_way = take_turns(ways, sizes, say)
        peak_mb = {"ours": ours.peak_mb()}
        if SHAP in runs_by_way:
            say(f"{kind}: comparing")
            values = runs_by_way[SHAP][0].added
            differences = np.abs(ours.run(contributions, len(values)) - values)
            if not differences.max() <= TOLERANCE:
                raise AssertionError(f"{kind}: the values are {differences.max():g} apart")
            peak_mb[SHAP] = peer.peak_mb()
    seconds = {
        way: Spread.of([run.seconds * PER / run.users for run in runs])
        for way, runs in runs_by_way.items()
    }
    return Row(
        f"reason codes, {kind}",
        f"{users:,} users, {len(DEFAULT_SERVICE.features)} features",
        seconds["ours"],
        f"s per {PER:,} users",
        beside={way: spread for way, spread in seconds.items() if way != "ours"},
        more={"open_s": Spread.of([run.opened for run in runs_by_way["ours"]])},
        peak_mb=peak_mb,
        goals=_goals(seconds),
        note=NOTE,
    )


def _goals(seconds: dict[str, Spread]) -> list[Goal]:
    ours = seconds["ours"].median
    goals = [at_most(f"{LISTED:,} users", ours * LISTED / PER, 60, " s")]
    if SHAP in seconds:
        goals.append(at_least("times as fast as shap", seconds[SHAP].median / ours, 5))
    return goals


@dataclasses.dataclass(frozen=True)
class ExplainTiming:
    """The seconds that it took to open an explainer and to explain some users; shap's with its values.

    The values are what each feature adds to each user's score, [users, features].
    """

    users: int
    opened: float
    seconds: float
    added: Any = None


# What a worker keeps between its runs.
_opened: dict[str, Any] = {}


def prepare(folder: Path, fit_on: int, users: int, seed: int) -> None:
    """Write the explainer and the pipeline of each kind, and users to explain."""
    from churn.model.rows import prepare as prepared

    folder.mkdir(parents=True, exist_ok=True)
    model_frame(labelled_users(users, seed + 1), DEFAULT_SERVICE).to_parquet(
        folder / "users.parquet"
    )
    rows = prepared(labelled_users(fit_on, seed), DEFAULT_SERVICE)
    for kind in KINDS:
        each = fit_uncalibrated(kind, rows)
        (folder / f"{kind.name}.npz").write_bytes(explainer_of(each).write())
        (folder / f"{kind.name}.pickle").write_bytes(pickle.dumps(each.pipeline))


def open_ours(folder: Path, kind: str, users: int) -> None:
    """Read a stored explainer and users; libraries are loaded here, so that this is not timed."""
    from churn.scoring.reasons import Explaining

    stored = (folder / f"{kind}.npz").read_bytes()
    rows = read_users(folder, kind, users)
    Explaining(Explainer.read(stored)).words(onnx_inputs(rows.iloc[:1], DEFAULT_SERVICE))
    _opened.update(stored=stored, inputs=onnx_inputs(rows, DEFAULT_SERVICE))


def explain() -> ExplainTiming:
    """Open an explainer, and name the reasons of all users."""
    from churn.scoring.reasons import Explaining

    begun = time.perf_counter()
    explaining = Explaining(Explainer.read(_opened["stored"]))
    opened = time.perf_counter()
    words = explaining.words(_opened["inputs"])
    done = time.perf_counter()
    if len(words) != len(_opened["inputs"]["numeric"]) or not any(words):
        raise AssertionError("no reasons were named")
    return ExplainTiming(len(words), opened - begun, done - opened)


def contributions(users: int) -> Any:
    """Return what each feature adds to the first users' scores, [users, features]."""
    from churn.scoring.reasons import Explaining

    first = {name: values[:users] for name, values in _opened["inputs"].items()}
    added = Explaining(Explainer.read(_opened["stored"])).contributions(first)
    return added.values  # noqa: PD011  (of our own class)


def open_shap(folder: Path, kind: str, users: int) -> None:
    """Make shap's explainer of the fitted model, which is not timed."""
    import shap

    pipeline = pickle.loads((folder / f"{kind}.pickle").read_bytes())  # noqa: S301  (written above)
    encoded = pipeline["encode"].transform(read_users(folder, kind, users))
    explainer = shap.TreeExplainer(pipeline[-1], feature_perturbation="tree_path_dependent")
    _opened.update(shap=explainer, encoded=np.asarray(encoded, dtype=np.float64), pipeline=pipeline)


def explain_by_shap() -> ExplainTiming:
    """Return shap's values, with one-hot columns added up per feature."""
    begun = time.perf_counter()
    shap_values = _opened["shap"].shap_values(_opened["encoded"], check_additivity=False)
    seconds = time.perf_counter() - begun
    # For a forest, there are values for both classes.
    values = shap_values[..., 1] if shap_values.ndim == 3 else shap_values
    return ExplainTiming(len(values), 0.0, seconds, _by_feature(values, _opened["pipeline"]))


def _by_feature(values: Any, pipeline: Any) -> Any:
    from churn.model.encode import categories_of

    known = zip(DEFAULT_SERVICE.categorical_cols, categories_of(pipeline), strict=True)
    one_hots = [name for name, categories in known for _ in categories]
    columns = [*one_hots, *pipeline["encode"].transformers_[1][2]]
    names = [*DEFAULT_SERVICE.categorical_cols, *DEFAULT_SERVICE.numeric_cols]
    summed = np.zeros((len(values), len(names)))
    for at, name in enumerate(columns):
        summed[:, names.index(name)] += values[:, at]
    return summed


def read_users(folder: Path, kind: str, users: int) -> pd.DataFrame:
    """Read users to explain; for a forest without unknown values, which shap always sends to the left."""
    rows = pd.read_parquet(folder / "users.parquet")
    return (rows.dropna() if kind == SHALLOW_FOREST.name else rows).iloc[:users]
