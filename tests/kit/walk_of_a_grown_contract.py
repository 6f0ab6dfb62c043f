"""What a process does that works by the grown contract, on a state of before it grew; prints what it saw.

CHURN_CONTRACT=grown.yaml python -m tests.kit.walk_of_a_grown_contract
"""

import datetime as dt
import json
import shutil
from pathlib import Path

import pyarrow as pa

from churn.contract.in_force import CONTRACT, PROFILE_TABLES
from churn.database import connect
from churn.database.init import initialise
from churn.deliveries import deliver
from churn.deliveries.ledger import accepted
from churn.months import Month
from churn.settings import get_settings
from feature_repo.store import open_store
from tests.kit.close_month import close

NOW = dt.datetime(2026, 2, 1, 12, tzinfo=dt.UTC)
JANUARY, FEBRUARY, MARCH, APRIL = (Month.parse(f"2024-0{n}") for n in (1, 2, 3, 4))
FEATURES = {
    "usage_agg_30d_fv": ["skips_7d", "stalled_share_30d"],
    "devices_fv": ["smart_tvs"],
}


def grown_drop(drop: Path) -> Path:
    """Give April what is new: a column, and a table that half of the users are in."""
    usage = drop / "usage_agg_30d.csv"
    header, *lines = usage.read_text().splitlines()
    usage.write_text(
        "\n".join([f"{header},stalled_share_30d", *(f"{line},0.25" for line in lines)]) + "\n"
    )
    users = [line.split(",")[0] for line in lines]
    half = [f"{user},2" for user in users[: len(users) // 2]]
    (drop / "devices.csv").write_text("\n".join(["user_id,smart_tvs", *half]) + "\n")
    return drop


def stored(month: Month, folder: Path) -> Path:
    """Copy a month's newest files out of the store."""
    folder.mkdir(parents=True)
    for table in PROFILE_TABLES:
        if versions := accepted(month, table):
            path = get_settings().deliveries / versions[-1].stored_path
            shutil.copy(path, folder / table.file)
    return folder


def edited(file: Path, change: slice) -> None:
    file.chmod(0o644)
    header, *lines = file.read_text().splitlines()
    file.write_text("\n".join([header, *lines[change]]) + "\n")


def joined(month: Month, users: list[str]) -> dict[str, list[object]]:
    entities = pa.table(
        {
            "user_id": users,
            "event_timestamp": pa.array([month.as_of] * len(users), pa.timestamp("us", "UTC")),
        }
    )
    names = [f"{view}:{name}" for view, features in FEATURES.items() for name in features]
    rows = open_store().get_historical_features(entities, names).to_arrow().sort_by("user_id")
    return {name: rows[name].to_pylist() for names in FEATURES.values() for name in names}


def online(query: str) -> list[tuple[object, ...]]:
    with connect() as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def walk() -> dict[str, object]:
    home = get_settings().home
    initialise(("streamflow",))
    again = stored(JANUARY, home / "again" / "month_000")
    edited(again / "usage_agg_30d.csv", slice(None, None, -1))  # other bytes, the same content
    seen: dict[str, object] = {
        "contract": CONTRACT.name,
        "again": deliver(again, now=NOW).is_changed,
        "april": sorted(
            {
                f.state
                for f in deliver(
                    grown_drop(home / "month_003"), now=NOW, month=APRIL, history=True
                ).files
            }
        ),
    }
    close(APRIL)
    seen["online"] = online(
        "SELECT count(*), count(stalled_share_30d), count(*) FILTER (WHERE devices_fv), sum(smart_tvs)"
        f" FROM online.users WHERE as_of = '{APRIL.as_of.isoformat()}'"
    )[0]
    users = [
        row[0]
        for row in online(
            "SELECT user_id FROM users_snapshots_current WHERE as_of ="
            f" '{MARCH.as_of.isoformat()}' ORDER BY 1 LIMIT 3"
        )
    ]
    seen["march"] = joined(MARCH, users)  # type: ignore[arg-type]
    seen["kept"] = online(
        "SELECT skips_7d FROM usage_agg_30d_snapshots_current WHERE as_of ="
        f" '{MARCH.as_of.isoformat()}' ORDER BY user_id LIMIT 3"
    )
    both = [row[0] for row in online("SELECT user_id FROM devices_snapshots ORDER BY 1 LIMIT 1")]
    seen["april_joined"] = joined(APRIL, both)  # type: ignore[arg-type]
    corrected = stored(FEBRUARY, home / "corrected" / "month_001")
    for table in PROFILE_TABLES:
        if (corrected / table.file).exists():
            edited(corrected / table.file, slice(0, -1))
    seen["correction"] = sorted({f.state for f in deliver(corrected, now=NOW).files})
    close(FEBRUARY)
    seen["february"] = online(
        "SELECT count(*), count(stalled_share_30d) FROM usage_agg_30d_snapshots_current WHERE as_of ="
        f" '{FEBRUARY.as_of.isoformat()}'"
    )[0]
    return seen


if __name__ == "__main__":
    print(json.dumps(walk(), default=float))  # noqa: T201
