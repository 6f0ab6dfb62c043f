"""The drift report of a month as evidently's HTML: the same bins, the same distances, our thresholds.

Where users are many, the report draws a fixed sample of them, and says so in its title; what is decided,
checked and kept is of all users.
"""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn.monitoring.drift import Drift
from churn.monitoring.statistic import METHOD
from churn.months import Month
from churn.settings import get_settings

if TYPE_CHECKING:
    import pandas as pd


DRAWN_ROWS = 50_000  # of each side; beyond, evidently takes minutes and its pictures look the same
_SEED = 0


def drift_report_path(month: Month) -> Path:
    """Return where a month's report is kept."""
    return get_settings().reports / "drift" / f"{month}.html"


def write_drift_report(drift: Drift) -> Path:
    """Write the report; the old one stays until the new is whole."""
    path = drift_report_path(drift.month)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    half.write_text(_html(drift), encoding="utf-8")
    half.replace(path)
    return path


def evidently_distances(drift: Drift) -> dict[str, float]:
    """Return evidently's own distance of each column."""
    found = _run(drift).dict()["metrics"]
    return {str(metric["config"]["column"]): float(metric["value"]) for metric in found}


def _html(drift: Drift) -> str:
    rows = max(len(part) for parts in (drift.before, drift.after) for part in parts.values())
    drawn = f", a sample of {DRAWN_ROWS:,} of {rows:,} users" if rows > DRAWN_ROWS else ""
    title = f"<title>Drift of {drift.month} against {drift.reference}{drawn}</title>"
    html: str = _run(drift).get_html_str(as_iframe=False)
    return html.replace("<head>", f"<head>{title}", 1)


def _run(drift: Drift) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # evidently's imports use what numpy and litestar renamed
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

    metrics = [
        ValueDrift(column=column.feature, method=METHOD, threshold=column.threshold)
        for column in sorted(drift.columns, key=lambda each: each.threshold - each.distance)
    ]
    kinds = DataDefinition(categorical_columns=[column.feature for column in drift.columns])
    current, reference = (
        Dataset.from_pandas(_side_by_side(parts), kinds) for parts in (drift.after, drift.before)
    )
    report = Report(metrics, include_tests=True)
    return report.run(current, reference, timestamp=drift.month.as_of, name=f"drift {drift.month}")


def _side_by_side(parts: "dict[str, pd.DataFrame]") -> "pd.DataFrame":
    """Return one frame; the scores' rows are fewer, and evidently leaves the blanks below them out."""
    import pandas as pd

    drawn = [
        part.sample(min(len(part), DRAWN_ROWS), random_state=_SEED).astype(object)
        for part in parts.values()
    ]
    return pd.concat([part.reset_index(drop=True) for part in drawn], axis=1)
