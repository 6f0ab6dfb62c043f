"""DDL of drift and performance, month by month."""

from typing import LiteralString

_DRIFT: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.feature_drift (
    as_of timestamptz NOT NULL,
    feature text NOT NULL,
    release_id text NOT NULL REFERENCES decisions.releases,
    reference_as_of timestamptz NOT NULL CHECK (reference_as_of < as_of),
    reference_rows bigint NOT NULL CHECK (reference_rows > 0),
    rows bigint NOT NULL CHECK (rows > 0),
    distance double precision NOT NULL CHECK (distance BETWEEN 0 AND 1),
    threshold double precision NOT NULL CHECK (threshold >= 0),
    is_drifted boolean NOT NULL,
    is_provisional boolean NOT NULL DEFAULT false,
    PRIMARY KEY (as_of, feature)
)"""

_PERFORMANCE: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.model_performance (
    as_of timestamptz NOT NULL,
    users text NOT NULL CHECK (users IN ('all', 'hold-out')),
    metric text NOT NULL,
    release_id text NOT NULL REFERENCES decisions.releases,
    rows bigint NOT NULL CHECK (rows > 0),
    estimated double precision NOT NULL,
    estimated_low double precision NOT NULL,
    estimated_high double precision NOT NULL,
    realised double precision,
    realised_low double precision,
    realised_high double precision,
    alarm text NOT NULL,
    PRIMARY KEY (as_of, users, metric)
)"""

STATEMENTS: tuple[LiteralString, ...] = (_DRIFT, _PERFORMANCE)
