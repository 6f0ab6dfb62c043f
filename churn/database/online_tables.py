"""DDL of the online tables: one wide row per user, and what was published when."""

from collections.abc import Iterator, Sequence
from typing import LiteralString

from psycopg import sql

from churn.contract.in_force import VIEWS
from churn.contract.structure import View
from churn.contract.types import FEATURE_TYPES

PRESENT, NEXT = "users", "next_users"  # what readers are given, and what a publication builds aside
USERS, NEXT_USERS = sql.Identifier("online", PRESENT), sql.Identifier("online", NEXT)
LOCK = "churn.online.publish"  # one writer at a time; readers are not held up

# `contract` is the fingerprint of the contract in force, null for publications of before it was kept;
# `published_at` is when readers were given it, null likewise.
_PUBLICATIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS online.publications (
    as_of timestamptz NOT NULL, known_at timestamptz NOT NULL,
    users bigint NOT NULL, fingerprint text NOT NULL, contract text,
    published_at timestamptz DEFAULT clock_timestamp(),
    PRIMARY KEY (as_of, known_at)
)"""

# At most one row: what the promotion ledger, which the API may not read, says is to be served.
_IN_FORCE: LiteralString = """
CREATE TABLE IF NOT EXISTS online.release_in_force (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    release_id text NOT NULL, version text NOT NULL, onnx_sha256 text NOT NULL
)"""

# What the pipeline found failed or waiting at its last look; the API's role reads it for /health.
_MONTHS_BEHIND: LiteralString = """
CREATE TABLE IF NOT EXISTS online.months_behind (
    stage text NOT NULL, month date NOT NULL, state text NOT NULL, sentence text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stage, month)
)"""


def _features(views: Sequence[View]) -> dict[str, LiteralString]:
    """Return the features and their types, the widest first, so that no row is padded."""
    features = [feature for view in views for feature in view.features]
    features.sort(key=lambda feature: list(FEATURE_TYPES).index(feature.dtype))
    return {feature.name: feature.type.sql for feature in features}


# One row is one user in one version. The column called like a view says whether that view has a row for
# the user; where it has none, its features are null.
COLUMNS = ("user_id", "as_of", "known_at", *(view.name for view in VIEWS), *_features(VIEWS))


def users_columns(views: Sequence[View] = VIEWS) -> sql.Composed:
    """Return the columns of the wide row, for CREATE TABLE."""
    columns = [sql.SQL("user_id text NOT NULL, as_of timestamptz NOT NULL")]
    columns.append(sql.SQL("known_at timestamptz NOT NULL"))
    flags = [sql.Identifier(view.name) for view in views]
    return sql.SQL(", ").join(
        [
            *columns,
            *(sql.SQL("{} boolean NOT NULL DEFAULT false").format(flag) for flag in flags),
            *(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
                for name, kind in _features(views).items()
            ),
        ]
    )


def statements(views: Sequence[View] = VIEWS) -> Iterator[sql.SQL | sql.Composed]:
    """Yield the DDL, each statement safe to run again."""
    yield sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (user_id))").format(
        USERS, users_columns(views)
    )
    yield sql.SQL(_PUBLICATIONS)
    yield sql.SQL(_IN_FORCE)
    yield sql.SQL(_MONTHS_BEHIND)
