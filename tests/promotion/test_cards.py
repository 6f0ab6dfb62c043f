import datetime as dt
from typing import Any

import pytest

from churn.promotion.cards import Records, card
from churn.promotion.entry import Entry
from churn.settings import GateSettings
from tests.kit.releases import draft, release, written

MARCH = dt.date(2024, 3, 31)


def lineage(month: str) -> dict[str, Any]:
    delivered = {
        "file": "labels",
        "delivery_id": 7,
        "rows": 600,
        "known_at": month,
        "sha256": month,
    }
    return {
        "month": month,
        "features_known_at": "then",
        "labels_known_at": "later",
        "training_set": {"file": f"{month}.parquet", "rows": 600},
        "deliveries": [delivered],
    }


@pytest.fixture
def entry(settings: object) -> Entry:
    champion_release = release(as_of=MARCH)
    [recorded] = written(draft(release_id=champion_release.release_id), kept=(champion_release,))
    return recorded


def shown(entry: Entry, facts: dict[str, Any]) -> str:
    return card(Records(release(as_of=MARCH), entry, facts, None, None, GateSettings()))


def test_one_month_behind_it(entry: Entry) -> None:
    text = shown(entry, lineage("2024-03"))
    assert "fitted on one label period, 2024-03:" in text
    assert text.count(".parquet, 600 rows") == 1


def test_several_months_behind_it_are_all_named(entry: Entry) -> None:
    before = [lineage("2024-01"), lineage("2024-02")]
    text = shown(entry, lineage("2024-03") | {"window": before})
    assert "fitted on 3 label periods, 2024-01 to 2024-03:" in text
    for month in ("2024-01", "2024-02", "2024-03"):
        assert f"Training set {month}.parquet, 600 rows" in text
        assert f"| `{month}` |" in text
