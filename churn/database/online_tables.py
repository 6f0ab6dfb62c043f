"""DDL of the online tables: one wide row per user, and what was published when."""

from collections.abc import Iterator
from typing import LiteralString

from psycopg import sql

from churn.contract.features import VIEWS
from churn.contract.types import FEATURE_TYPES

PRESENT, NEXT = "users", "next_users"  # what readers are given, and what a publication builds aside
USERS, NEXT_USERS = sql.Identifier("online", PRESENT), sql.Identifier("online", NEXT)
LOCK = "churn.online"  # one writer at a time; readers are not held up

_PUBLICATIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS online.publications (
    as_of timestamptz NOT NULL, known_at timestamptz NOT NULL,
    users bigint NOT NULL, fingerprint text NOT NULL, PRIMARY KEY (as_of, known_at)
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
    PRIMARY KEY (stage, month)
)"""


def _features() -> dict[str, LiteralString]:
    """Return the features and their types, the widest first, so that no row is padded."""
    features = [feature for view in VIEWS for feature in view.features]
    features.sort(key=lambda feature: list(FEATURE_TYPES).index(feature.dtype))
    return {feature.name: feature.type.sql for feature in features}


# One row is one user in one version. The column called like a view says whether that view has a row for
# the user; where it has none, its features are null.
COLUMNS = ("user_id", "as_of", "known_at", *(view.name for view in VIEWS), *_features())


def users_columns() -> sql.Composed:
    """Return the columns of the wide row, for CREATE TABLE."""
    columns = [sql.SQL("user_id text NOT NULL, as_of timestamptz NOT NULL")]
    columns.append(sql.SQL("known_at timestamptz NOT NULL"))
    views = [sql.Identifier(view.name) for view in VIEWS]
    return sql.SQL(", ").join(
        [
            *columns,
            *(sql.SQL("{} boolean NOT NULL DEFAULT false").format(view) for view in views),
            *(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
                for name, kind in _features().items()
            ),
        ]
    )


def statements() -> Iterator[sql.SQL | sql.Composed]:
    """Yield the DDL, each statement safe to run again."""
    yield sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (user_id))").format(
        USERS, users_columns()
    )
    yield sql.SQL(_PUBLICATIONS)
    yield sql.SQL(_IN_FORCE)
    yield sql.SQL(_MONTHS_BEHIND)
