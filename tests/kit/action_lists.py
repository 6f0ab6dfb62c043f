"""A scored month and its action list put straight into Postgres."""

from collections.abc import Sequence
from pathlib import Path

from churn.contract.in_force import LABELS
from churn.database import connect
from churn.months import Month
from churn.promotion.ledger import keep_release
from churn.scoring.action_file import CONTROL, TREATED
from churn.scoring.treatments import load_treatments
from tests.kit.releases import release
from tests.kit.snapshot_rows import put

MAY = Month.parse("2024-05")
USERS = [f"u{n:03d}" for n in range(300)]


def put_list(month: Month, users: Sequence[str], control: Sequence[str] = ()) -> None:
    """List users, the first of them first; those of `control` are to be left alone."""
    chosen = release()
    with connect() as connection, connection.cursor() as cursor:
        keep_release(connection, chosen)
        cursor.executemany(
            "INSERT INTO churn_scores VALUES (%s, %s, %s, %s, %s, %s, true)",
            [
                (month.as_of, user, chosen.release_id, 0.9 - 0.5 * n / len(users), n + 1, 9.5)
                for n, user in enumerate(users)
            ],
        )
        cursor.execute(
            "INSERT INTO churn_score_runs (as_of, release_id, users) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [month.as_of, chosen.release_id, len(users)],
        )
        cursor.execute(
            "INSERT INTO action_lists (as_of, treated, control, expected_profit)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [month.as_of, len(users) - len(control), len(control), 9.5 * len(users)],
        )
        cursor.executemany(
            "INSERT INTO action_list VALUES (%s, %s, %s, %s)",
            [
                (month.as_of, user, CONTROL if user in control else TREATED, f"why {user}")
                for user in users
            ],
        )


def put_labels(month: Month, left: Sequence[str], stayed: Sequence[str]) -> None:
    put(LABELS, month, left, churn_label=True)
    put(LABELS, month, stayed, churn_label=False)


def report(folder: Path, users: list[str]) -> None:
    """Report that users were called."""
    rows = [f"{MAY},{user},2024-06-03,phone" for user in users]
    path = folder / "calls.csv"
    path.write_text("\n".join(["month,user_id,treated_at,channel", *rows]) + "\n")
    load_treatments(path)


def campaign_month(folder: Path, *, control: int = 30, called: int = 100) -> None:
    """List `USERS` in `MAY`, leave some alone, and report calls to some of the others."""
    alone = USERS[:: len(USERS) // control][:control] if control else []
    put_list(MAY, USERS, alone)
    report(folder, [user for user in USERS if user not in alone][:called])
