"""DDL of judgements of deliveries beside other months, and of the append-only confirmations by people."""

from typing import LiteralString

# What a delivery was found to be beside others: made again whenever it is judged again. `blocked_after` is
# the newest delivery of all when it was first found impossible: one that comes later may heal it.
_JUDGEMENTS: LiteralString = """
CREATE TABLE IF NOT EXISTS raw.judgements (
    delivery_id bigint PRIMARY KEY REFERENCES raw.deliveries,
    findings jsonb NOT NULL,
    compared_with bigint[] NOT NULL,
    blocked_after bigint,
    judged_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

# The fingerprint ties a confirmation to the content: another delivery needs another word.
_CONFIRMATIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.confirmations (
    confirmation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    file text NOT NULL,
    rule text NOT NULL,
    fingerprint text NOT NULL,
    what text NOT NULL,
    reason text NOT NULL CHECK (trim(reason) <> ''),
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

_GUARD: LiteralString = """
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions.confirmations
    FOR EACH STATEMENT EXECUTE FUNCTION decisions.refuse_change()"""

# Deliveries that cannot be and that nobody has confirmed: no stage behind the raw tables reads them.
_BLOCKED: LiteralString = """
CREATE OR REPLACE VIEW raw.blocked AS
    SELECT d.delivery_id, d.month, d.file, f ->> 'rule' AS rule, f ->> 'what' AS what
    FROM raw.judgements AS j JOIN raw.deliveries AS d USING (delivery_id),
        jsonb_array_elements(j.findings) AS f
    WHERE (f ->> 'is_impossible')::boolean AND NOT EXISTS (
        SELECT FROM decisions.confirmations AS c WHERE c.month = d.month AND c.file = d.file
            AND c.rule = f ->> 'rule' AND c.fingerprint = d.fingerprint)"""

STATEMENTS: tuple[LiteralString, ...] = (_JUDGEMENTS, _CONFIRMATIONS, _GUARD, _BLOCKED)
