"""The backtest's rows in Postgres: kept month by month, read again for tables and pictures."""

from collections.abc import Sequence
from typing import Any

from churn.database import connect
from churn.evaluation.bootstrap import Interval
from churn.model.backtest import METRICS, BacktestRow
from churn.months import Month

_INSERT = (
    "INSERT INTO monitoring.backtests (as_of, candidate, service, span, first_as_of, last_as_of,"
    " months, training_rows, users, leavers) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_INSERT_FIGURES = (
    "INSERT INTO monitoring.backtest_figures (as_of, candidate, service, span, metric, estimate,"
    " low, high) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_SELECT = (
    "SELECT as_of, candidate, service, span, first_as_of, last_as_of, months, training_rows, users,"
    " leavers FROM monitoring.backtests WHERE as_of <= %s ORDER BY as_of, candidate, service, span"
)
_SELECT_FIGURES = (
    "SELECT as_of, candidate, service, span, metric, estimate, low, high"
    " FROM monitoring.backtest_figures WHERE as_of <= %s"
)


def keep_rows(judged: Month, rows: Sequence[BacktestRow]) -> None:
    """Keep the rows of one judged month, in the place of what was there."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM monitoring.backtests WHERE as_of = %s", [judged.as_of])
        cursor.executemany(_INSERT, [_cells(row) for row in rows])
        cursor.executemany(
            _INSERT_FIGURES,
            [[*_key(row), name, *row.figures[name]] for row in rows for name in METRICS],
        )


def kept_rows(until: Month) -> list[BacktestRow]:
    """Read the rows of every judged month up to one, oldest first; of a month in a steady order."""
    figures: dict[tuple[Any, ...], dict[str, Interval]] = {}
    with connect() as connection:
        for *key, metric, estimate, low, high in connection.execute(_SELECT_FIGURES, [until.as_of]):
            figures.setdefault(tuple(key), {})[metric] = Interval(estimate, low, high)
        found = connection.execute(_SELECT, [until.as_of]).fetchall()
    return [_row(cells, figures[cells[:4]]) for cells in found]


def _key(row: BacktestRow) -> list[Any]:
    return [row.month.as_of, row.candidate, row.service, row.span]


def _cells(row: BacktestRow) -> list[Any]:
    counted = [row.months, row.training_rows, row.users, row.left]
    return [*_key(row), row.first.as_of, row.last.as_of, *counted]


def _row(cells: tuple[Any, ...], figures: dict[str, Interval]) -> BacktestRow:
    as_of, candidate, service, span, first, last, months, training_rows, users, left = cells
    return BacktestRow(
        Month.of_as_of(as_of),
        candidate,
        service,
        span,
        Month.of_as_of(first),
        Month.of_as_of(last),
        months,
        training_rows,
        users,
        left,
        {name: figures[name] for name in METRICS},
    )
