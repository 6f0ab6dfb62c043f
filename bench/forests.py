"""Whether a forest of small trees ranks as well as one of full trees, when judged a month later.

`python -m bench.forests` prints the table of docs/evaluation.md; `--drop DIR` adds a drop from outside, which
is judged on its own hold-out users.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from churn.arrays import Floats
from churn.contract.in_force import DEFAULT_SERVICE, TABLES
from churn.evaluation.bootstrap import Interval, paired_difference
from churn.evaluation.metrics import evaluate
from churn.markdown import table
from churn.model.candidates import fit_challenger, forest, tuned
from churn.model.encode import model_frame
from churn.model.fitted import Fitted
from churn.model.kinds import SHALLOW_FOREST
from churn.model.rows import is_holdout
from churn.model.train import fit_baseline
from churn.monitoring.false_alarms import play_months


def main() -> None:
    """Print a row per month, and the drop's."""
    parser = argparse.ArgumentParser(description="Compare forests of small and of full trees.")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--users", type=int, default=7_043)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--drop", type=Path)
    chosen = parser.parse_args()
    rows = []
    if chosen.drop:
        drop = read_drop(chosen.drop)
        rows.append(["the drop", *compared(drop, drop)])
    played = play_months(chosen.months, chosen.users, chosen.seed)
    frames = [month.frame.assign(churn_label=month.labels) for month in played]
    for number, (fit_on, judged) in enumerate(itertools.pairwise(frames)):
        rows.append([f"month {number + 2}", *compared(fit_on, judged)])
    head = (
        "judged on",
        "AUC, full",
        "AUC, small",
        "AUC, small less full",
        "log-loss, small less full",
    )
    print("\n".join(table(head, rows)))


def compared(fit_on: pd.DataFrame, judged: pd.DataFrame) -> Iterator[str]:
    """Yield both forests' AUC on the judged month's hold-out users, and the paired differences."""
    full = fit_baseline(fit_on, DEFAULT_SERVICE)
    of_full = fit_challenger(forest(full), full)
    of_small = fit_challenger(tuned(SHALLOW_FOREST, full.data), full)
    held = judged[is_holdout(judged["user_id"].to_numpy())].sort_values("user_id")
    labels = held["churn_label"].to_numpy(dtype="int64")
    before, after = (probabilities(each, held) for each in (of_full, of_small))
    for each in (before, after):
        yield f"{evaluate(labels, each, 0.5)['auc']:.4f}"
    for measure in ("auc", "log_loss"):
        yield shown(paired_difference(labels, after, before, measure))


def probabilities(fitted: Fitted, users: pd.DataFrame) -> Floats:
    assert fitted.calibration is not None
    raw = fitted.kind.log_odds(fitted.pipeline, model_frame(users, fitted.service))
    return fitted.calibration.probabilities(raw)


def shown(difference: Interval) -> str:
    return f"{difference.estimate:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def read_drop(folder: Path) -> pd.DataFrame:
    """Read a drop as one row per user; optional columns that it lacks are null."""
    frame, *others = (pd.read_csv(folder / each.file) for each in TABLES)
    for other in others:
        frame = frame.merge(other, on="user_id", validate="one_to_one")
    return frame.reindex(columns=["user_id", *DEFAULT_SERVICE.feature_names, "churn_label"])


if __name__ == "__main__":
    main()
