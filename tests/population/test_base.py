from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from churn.errors import ChurnError
from churn.population.base import FILE, load_base


def test_every_user_of_the_benchmark(base: pd.DataFrame) -> None:
    assert len(base) == base["user_id"].nunique() == 7043
    assert base["churn_label"].sum() == 1869
    assert base["user_gender"].value_counts().to_dict() == {"Male": 3555, "Female": 3488}
    assert base["user_is_senior"].sum() == 1142
    assert base["has_family"].sum() == 3402
    assert base["has_dependents"].sum() == 2110
    assert base["paperless_billing"].sum() == 4171
    assert base["contract_type"].value_counts().to_dict() == {
        "Month-to-month": 3875,
        "Two year": 1695,
        "One year": 1473,
    }


@pytest.mark.parametrize(
    ("column", "true"),
    [
        ("plan_stream_tv", 2707),
        ("plan_stream_movies", 2732),
        ("add_on_security", 2019),
        ("add_on_backup", 2429),
        ("add_on_device_protect", 2422),
        ("add_on_support", 2044),
    ],
)
def test_no_internet_service_is_unknown(base: pd.DataFrame, column: str, true: int) -> None:
    assert base[column].isna().sum() == 1526
    assert (base["net_service"][base[column].isna()] == "No").all()
    assert base[column].sum() == true


def test_nothing_paid_yet_is_zero(base: pd.DataFrame) -> None:
    newest = base[base["months_active"] == 0]
    assert len(newest) == 11
    assert (newest["paid_cents"] == 0).all()


def test_money_is_exact(base: pd.DataFrame) -> None:
    user = base.set_index("user_id").loc["7590-VHVEG"]
    assert (user["fee_cents"], user["paid_cents"], user["months_active"]) == (2985, 2985, 1)
    assert round(base["fee_cents"].sum() / 100, 2) == 456116.60


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    with pytest.raises(ChurnError, match=r"pip install --no-deps evalml==0\.84\.0"):
        load_base()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "not on this machine"), (b"x", "sha256 is")]
)
def test_another_file_is_refused(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    if content:
        file.write_bytes(content)
    wheel = SimpleNamespace(locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: wheel)
    with pytest.raises(ChurnError, match=message):
        load_base()
