"""Reason codes: what naming the three strongest reasons of each user costs, by kind of challenger."""

import time
from dataclasses import dataclass
from functools import partial

from bench.rows import Row, Spread
from bench.worker import Say, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.features import RICH
from churn.model.encode import Inputs, onnx_inputs
from churn.model.explainer import Explainer, explainer_of
from churn.months import Month

PER = 10_000  # users: what the seconds are for
USERS = {"logistic": 1_000, "boosting": 1_000, "forest": 50}  # a forest takes long for each
FIRST = Month.parse("2024-01")


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with world.state("reasons"), Worker() as worker:
        say(f"fitting the challengers on {sizes.base_users:,} users")
        explainers, inputs = worker.run(fit_challengers, sizes)
        ways = {
            kind: partial(worker.run, explain, explainers[kind], _first(inputs, users))
            for kind, users in USERS.items()
        }
        found = take_turns(ways, sizes, say)
    return [
        Row(
            f"reason codes, {kind}",
            f"{found[kind][0].users:,} users, {len(RICH.features)} features",
            Spread.of([run.seconds * PER / run.users for run in found[kind]]),
            f"s per {PER:,} users",
            more={"open_s": Spread.of([run.opened for run in found[kind]])},
            note="exact for the served model; open_s: once for each version and process",
        )
        for kind in USERS
    ]


@dataclass(frozen=True)
class Explained:
    """How long it took to open an explainer, and to name the reasons of so many users."""

    users: int
    opened: float
    seconds: float


def fit_challengers(sizes: Sizes) -> tuple[dict[str, bytes], Inputs]:
    """Return the explainer of each kind of challenger, as it is stored, and users to explain."""
    from churn.contract.tables import PROFILE_TABLES
    from churn.model.baseline import fit_baseline
    from churn.model.candidates import candidates, fit_challenger
    from churn.population.simulate import play

    [month] = play(first=FIRST, months=1, users=sizes.base_users, seed=sizes.seed)
    frame = month.tables["labels"]
    for table in PROFILE_TABLES:
        frame = frame.merge(month.tables[table.name], on="user_id", validate="one_to_one")
    baseline = fit_baseline(frame, RICH)
    made = [fit_challenger(each, baseline) for each in candidates(baseline)]
    stored = {str(each.kind): explainer_of(each).write() for each in made}
    return stored, onnx_inputs(baseline.holdout, RICH)


def explain(stored: bytes, inputs: Inputs) -> Explained:
    """Open an explainer and name everybody's reasons; the libraries are loaded before."""
    import xgboost  # noqa: F401  (seconds, once for a process)

    from churn.scoring.reasons import Explaining

    begun = time.perf_counter()
    explaining = Explaining(Explainer.read(stored))
    opened = time.perf_counter()
    reasons = explaining.reasons(inputs)
    done = time.perf_counter()
    if len(reasons) != len(inputs["numeric"]) or not any(reasons):
        raise AssertionError("no reasons were named")
    return Explained(len(reasons), opened - begun, done - opened)


def _first(inputs: Inputs, users: int) -> Inputs:
    return {"categorical": inputs["categorical"][:users], "numeric": inputs["numeric"][:users]}
