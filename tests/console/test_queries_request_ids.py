"""A request of the console is known to Postgres by its id, for as long as its transaction lasts."""

from dataclasses import dataclass

import pytest

from churn.http_log import _request_id
from churn.settings import Settings
from console.queries import Database

QUERY = "SELECT current_setting('application_name') AS name"


@dataclass(frozen=True)
class Named:
    name: str


@pytest.mark.usefixtures("settings")
def test_each_transaction_bears_the_id_of_its_request(settings: Settings) -> None:
    database = Database(settings.dsn(), settings.dsn())
    database.open()
    try:
        token = _request_id.set("r-1")
        [row] = database.queries.rows(Named, QUERY)
        assert row.name == "console r-1"
        assert database.queries.row(Named, QUERY) == row
        assert list(database.queries.stream(Named, QUERY)) == [row]
        with database.own() as connection:
            assert connection.execute(QUERY).fetchone() == (row.name,)
        _request_id.reset(token)
        [row] = database.queries.rows(Named, QUERY)
        assert "r-1" not in row.name
    finally:
        database.close()
