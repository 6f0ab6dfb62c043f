"""DDL of scores, action lists and treatments."""

from typing import LiteralString

_SCORES: LiteralString = """
CREATE TABLE IF NOT EXISTS churn_scores (
    as_of timestamptz NOT NULL,
    user_id text NOT NULL,
    release_id text NOT NULL REFERENCES decisions.releases,
    probability double precision NOT NULL CHECK (probability BETWEEN 0 AND 1),
    rank bigint NOT NULL CHECK (rank > 0),
    expected_profit double precision NOT NULL,
    is_action boolean NOT NULL,
    PRIMARY KEY (as_of, user_id),
    UNIQUE (as_of, rank)
)"""

# What a month was last scored from, also where that made no rows: no release was in force.
_RUNS: LiteralString = """
CREATE TABLE IF NOT EXISTS churn_score_runs (
    as_of timestamptz PRIMARY KEY,
    known_at timestamptz,
    release_id text REFERENCES decisions.releases
)"""

_ACTIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS action_list (
    as_of timestamptz NOT NULL,
    user_id text NOT NULL,
    treatment_group text NOT NULL CHECK (treatment_group IN ('treated', 'control')),
    reason_1 text,
    reason_2 text,
    reason_3 text,
    PRIMARY KEY (as_of, user_id),
    FOREIGN KEY (as_of, user_id) REFERENCES churn_scores ON DELETE CASCADE
)"""

# No foreign key: making a list again deletes its rows first, and what was done stays done.
_TREATMENTS: LiteralString = """
CREATE TABLE IF NOT EXISTS treatments (
    as_of timestamptz NOT NULL,
    user_id text NOT NULL,
    treated_at date NOT NULL,
    channel text NOT NULL,
    offer text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (as_of, user_id)
)"""

STATEMENTS: tuple[LiteralString, ...] = (_SCORES, _RUNS, _ACTIONS, _TREATMENTS)
