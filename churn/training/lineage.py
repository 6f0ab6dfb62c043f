"""Where a training set comes from: the deliveries that were in force at its cut-offs."""

import datetime as dt
from typing import Any

from churn.contract.tables import LABELS
from churn.database import connect
from churn.months import Month
from churn.training.dataset import TrainingSet
from churn.training.spine import CutOffs


def lineage(made: TrainingSet, as_known: dt.datetime | None = None) -> dict[str, Any]:
    """Return the way back from a training set to the bytes of each file behind it."""
    cut_offs = CutOffs.of(made.month, as_known)
    return {
        "month": str(made.month),
        "as_of": made.month.as_of.isoformat(),
        "features_known_at": cut_offs.features.isoformat(),
        "labels_known_at": cut_offs.labels.isoformat(),
        "training_set": {
            "fingerprint": made.fingerprint,
            "rows": made.rows.num_rows,
            "file": made.path.name,
            "features": made.features,
            "contract": made.contract,
        },
        "deliveries": _in_force(made.month, cut_offs),
    }


def _in_force(month: Month, cut_offs: CutOffs) -> list[dict[str, Any]]:
    with connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT ON (file) file, delivery_id, sha256, fingerprint, rows, known_at"
            " FROM raw.deliveries WHERE month = %(month)s AND unloadable IS NULL AND known_at <="
            "  CASE WHEN file = %(labels)s THEN %(label_cut)s ELSE %(feature_cut)s END"
            " ORDER BY file, known_at DESC",
            {
                "month": month.first_day,
                "labels": LABELS.name,
                "label_cut": cut_offs.labels,
                "feature_cut": cut_offs.features,
            },
        ).fetchall()
    names = ("file", "delivery_id", "sha256", "fingerprint", "rows", "known_at")
    return [dict(zip(names, (*row[:-1], row[-1].isoformat()), strict=True)) for row in rows]
