"""DDL of what was done to this database: the versions of its schema, and the contracts applied to it."""

from typing import LiteralString

_VERSIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.schema_versions (
    version bigint PRIMARY KEY CHECK (version > 0),
    what text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

# The newest one is what the tables hold; its text, so that the next can be compared with it.
_CONTRACTS: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.contracts (
    contract_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    fingerprint text NOT NULL,
    contract text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

STATEMENTS: tuple[LiteralString, ...] = (_VERSIONS, _CONTRACTS)
