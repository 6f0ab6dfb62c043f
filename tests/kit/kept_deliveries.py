"""What the database and the state folder keep of deliveries."""

from churn.database import connect
from churn.settings import Settings


def ledger() -> list[tuple[object, ...]]:
    with connect() as connection:
        return connection.execute("SELECT * FROM raw.deliveries ORDER BY delivery_id").fetchall()


def stored(settings: Settings) -> list[str]:
    files = settings.deliveries.rglob("*") if settings.deliveries.exists() else []
    return sorted(str(path.relative_to(settings.deliveries)) for path in files if path.is_file())
