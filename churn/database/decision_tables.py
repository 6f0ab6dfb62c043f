"""DDL of releases and the promotion ledger: both append-only, whoever asks."""

from typing import LiteralString

# `contract` is the fingerprint of the contract that it was fitted under, null in those of before it was kept.
_RELEASES: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.releases (
    release_id text PRIMARY KEY CHECK (release_id ~ '^[0-9a-f]{64}$'),
    version text NOT NULL,
    service text NOT NULL,
    candidate text NOT NULL,
    threshold double precision NOT NULL CHECK (threshold > 0 AND threshold < 1),
    calibration text NOT NULL,
    as_of date NOT NULL,
    fingerprint text NOT NULL,
    onnx_sha256 text NOT NULL CHECK (onnx_sha256 ~ '^[0-9a-f]{64}$'),
    schema_sha256 text NOT NULL CHECK (schema_sha256 ~ '^[0-9a-f]{64}$'),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    contract text
)"""

# The text is the entry: every fact stands in it once, and the hash is over its bytes.
_LEDGER: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.ledger (
    seq bigint PRIMARY KEY CHECK (seq > 0),
    entry text NOT NULL CHECK (entry::jsonb IS NOT NULL),
    previous_hash text NOT NULL CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
    hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$')
)"""

_REFUSE: LiteralString = """
CREATE OR REPLACE FUNCTION decisions.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'add an entry that says what is new';
END $$"""

_GUARD_RELEASES: LiteralString = """
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions.releases
    FOR EACH STATEMENT EXECUTE FUNCTION decisions.refuse_change()"""
_GUARD_LEDGER: LiteralString = """
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION decisions.refuse_change()"""

STATEMENTS: tuple[LiteralString, ...] = (
    _RELEASES,
    _LEDGER,
    _REFUSE,
    _GUARD_RELEASES,
    _GUARD_LEDGER,
)
