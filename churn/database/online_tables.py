"""The DDL of the online tables: one wide row per user, and what was published when."""

from collections.abc import Iterator, Sequence
from typing import LiteralString

from psycopg import sql

from churn.contract.in_force import VIEWS
from churn.contract.structure import View
from churn.contract.types import FEATURE_TYPES

# The table that readers are given, and the one that a publication builds aside.
PRESENT, NEXT = "users", "next_users"
USERS, NEXT_USERS = sql.Identifier("online", PRESENT), sql.Identifier("online", NEXT)
# One publication at a time; readers are not held up.
LOCK = "churn.online.publish"

# `contract` is the fingerprint of the contract in force, and `published_at` when readers were given it; both
# are null for publications from before they were recorded.
_PUBLICATIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS online.publications (
    as_of timestamptz NOT NULL, known_at timestamptz NOT NULL,
    users bigint NOT NULL, fingerprint text NOT NULL, contract text,
    published_at timestamptz DEFAULT clock_timestamp(),
    PRIMARY KEY (as_of, known_at)
)"""

# It has at most one row: the release that the promotion ledger, which the API may not read, says to serve.
_IN_FORCE: LiteralString = """
CREATE TABLE IF NOT EXISTS online.release_in_force (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    release_id text NOT NULL, version text NOT NULL, onnx_sha256 text NOT NULL
)"""

# The stages that the pipeline last saw failed or waiting; the API's role reads them for /health.
_MONTHS_BEHIND: LiteralString = """
CREATE TABLE IF NOT EXISTS online.months_behind (
    stage text NOT NULL, month date NOT NULL, state text NOT NULL, sentence text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stage, month)
)"""


def _features(views: Sequence[View]) -> dict[str, LiteralString]:
    """Return the features and their SQL types, the widest first, so that rows are not padded."""
    features = [feature for view in views for feature in view.features]
    features.sort(key=lambda feature: list(FEATURE_TYPES).index(feature.dtype))
    return {feature.name: feature.type.sql for feature in features}


# One row is one user in one version. A column named after a view says whether that view has a row for the
# user; where it has none, the view's features are null.
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
    """Yield the DDL; each statement may be run again."""
    yield sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (user_id))").format(
        USERS, users_columns(views)
    )
    yield sql.SQL(_PUBLICATIONS)
    yield sql.SQL(_IN_FORCE)
    yield sql.SQL(_MONTHS_BEHIND)
