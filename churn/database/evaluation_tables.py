"""DDL of the backtest: which model was judged on which month, and its figures."""

from typing import LiteralString

_BACKTESTS: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.backtests (
    as_of timestamptz NOT NULL,
    candidate text NOT NULL,
    service text NOT NULL,
    span text NOT NULL,
    first_as_of timestamptz NOT NULL,
    last_as_of timestamptz NOT NULL,
    months bigint NOT NULL CHECK (months > 0),
    training_rows bigint NOT NULL CHECK (training_rows > 0),
    users bigint NOT NULL CHECK (users > 0),
    leavers bigint NOT NULL CHECK (leavers BETWEEN 0 AND users),
    PRIMARY KEY (as_of, candidate, service, span),
    CHECK (first_as_of <= last_as_of AND last_as_of < as_of)
)"""

_FIGURES: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.backtest_figures (
    as_of timestamptz NOT NULL,
    candidate text NOT NULL,
    service text NOT NULL,
    span text NOT NULL,
    metric text NOT NULL,
    estimate double precision NOT NULL,
    low double precision NOT NULL,
    high double precision NOT NULL,
    PRIMARY KEY (as_of, candidate, service, span, metric),
    FOREIGN KEY (as_of, candidate, service, span)
        REFERENCES monitoring.backtests ON DELETE CASCADE
)"""

STATEMENTS: tuple[LiteralString, ...] = (_BACKTESTS, _FIGURES)
