"""The tables that are the same for every contract: decisions, judgements, monitoring, scores, events.

The tables that follow from the contract are in `schema.py` and `online_tables.py`. To change a table that
databases have already, change it here and add a step in `steps.py`.
"""

from typing import LiteralString

# `contract` is the fingerprint of the contract that the release was fitted under; null in older releases.
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

# The text is the entry: it holds every fact once, and the hash is that of its bytes.
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

# The terms of the lists from a month on, by the names of the settings CHURN_CAMPAIGN_*.
CAMPAIGNS: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.campaigns (
    campaign_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    customer_value double precision NOT NULL CHECK (customer_value > 0 AND customer_value < 'Infinity'),
    incentive_cost double precision NOT NULL CHECK (incentive_cost >= 0 AND incentive_cost < 'Infinity'),
    contact_cost double precision NOT NULL CHECK (contact_cost >= 0 AND contact_cost < 'Infinity'),
    accept_alpha double precision NOT NULL CHECK (accept_alpha > 0 AND accept_alpha < 'Infinity'),
    accept_beta double precision NOT NULL CHECK (accept_beta > 0 AND accept_beta < 'Infinity'),
    budget double precision NOT NULL CHECK (budget >= 0 AND budget < 'Infinity'),
    control_share double precision NOT NULL CHECK (control_share >= 0 AND control_share < 1),
    reason text NOT NULL CHECK (trim(reason) <> ''),
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_GUARD_CAMPAIGNS: LiteralString = """
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions.campaigns
    FOR EACH STATEMENT EXECUTE FUNCTION decisions.refuse_change()"""

DECISION_TABLES: tuple[LiteralString, ...] = (
    _RELEASES,
    _LEDGER,
    _REFUSE,
    _GUARD_RELEASES,
    _GUARD_LEDGER,
    CAMPAIGNS,
    _GUARD_CAMPAIGNS,
)


# What was found about a delivery beside others; the row is replaced whenever it is judged again.
# `blocked_after` is the newest delivery of all when it was first found impossible: a later one may mend it.
_JUDGEMENTS: LiteralString = """
CREATE TABLE IF NOT EXISTS raw.judgements (
    delivery_id bigint PRIMARY KEY REFERENCES raw.deliveries,
    findings jsonb NOT NULL,
    compared_with bigint[] NOT NULL,
    blocked_after bigint,
    judged_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

# The fingerprint ties a confirmation to the content: another content needs another confirmation.
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

# The deliveries that are impossible and that nobody has confirmed; no stage after the raw tables reads them.
_BLOCKED: LiteralString = """
CREATE OR REPLACE VIEW raw.blocked AS
    SELECT d.delivery_id, d.month, d.file, f ->> 'rule' AS rule, f ->> 'what' AS what
    FROM raw.judgements AS j JOIN raw.deliveries AS d USING (delivery_id),
        jsonb_array_elements(j.findings) AS f
    WHERE (f ->> 'is_impossible')::boolean AND NOT EXISTS (
        SELECT FROM decisions.confirmations AS c WHERE c.month = d.month AND c.file = d.file
            AND c.rule = f ->> 'rule' AND c.fingerprint = d.fingerprint)"""

PLAUSIBILITY_TABLES: tuple[LiteralString, ...] = (_JUDGEMENTS, _CONFIRMATIONS, _GUARD, _BLOCKED)


# Of whom was erased a hash of the id remains, salted so that no other database has the same one.
_ERASURE_SALT: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.erasure_salt (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    salt text NOT NULL CHECK (salt ~ '^[0-9a-f]{64}$')
)"""
# `erased` counts what was deleted, by place; it is null while the erasure is under way, or was interrupted.
_ERASURES: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.erasures (
    erasure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id_hash text NOT NULL CHECK (id_hash ~ '^[0-9a-f]{64}$'),
    actor text NOT NULL,
    reason text NOT NULL CHECK (trim(reason) <> ''),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased jsonb
)"""
# What a delivery was before rows were taken out of its file: what lineage of before refers to.
_ERASED_FILES: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.erased_files (
    erasure_id bigint NOT NULL REFERENCES decisions.erasures,
    delivery_id bigint NOT NULL REFERENCES raw.deliveries,
    sha256 text NOT NULL,
    fingerprint text NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (erasure_id, delivery_id)
)"""

ERASURE_TABLES: tuple[LiteralString, ...] = (_ERASURE_SALT, _ERASURES, _ERASED_FILES)


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
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
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
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (as_of, users, metric)
)"""

# Expected and observed leavers of each level of each segment of a scored month. `listed` are those due an
# action, the control group among them. Sums of money are null where a user's value was not kept.
_SEGMENTS: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.segment_figures (
    as_of timestamptz NOT NULL,
    segment text NOT NULL,
    level text NOT NULL,
    release_id text NOT NULL REFERENCES decisions.releases,
    users bigint NOT NULL CHECK (users > 0),
    expected_leavers double precision NOT NULL,
    value_at_risk double precision,
    listed bigint NOT NULL CHECK (listed BETWEEN 0 AND users),
    expected_profit double precision NOT NULL,
    labelled bigint NOT NULL CHECK (labelled BETWEEN 0 AND users),
    observed_leavers bigint CHECK (observed_leavers BETWEEN 0 AND labelled),
    value_lost double precision,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (as_of, segment, level)
)"""

# What a month's list comes to by the strongest reason of its users, named as the sentence begins: blank
# where nothing raises the risk.
REASONS: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.reason_figures (
    as_of timestamptz NOT NULL,
    reason text NOT NULL,
    listed bigint NOT NULL CHECK (listed > 0),
    treated bigint NOT NULL CHECK (treated BETWEEN 0 AND listed),
    expected_profit double precision NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (as_of, reason)
)"""

# What was alarming about which month, scored by which release. Open is the newest of each kind about the
# release in force: what was said of a release that has been replaced since is settled.
_ALARMS: LiteralString = """
CREATE OR REPLACE VIEW monitoring.alarms AS
    SELECT kind, as_of, release_id, said,
        as_of = max(as_of) OVER (PARTITION BY kind, release_id)
            AND release_id IN (SELECT release_id FROM online.release_in_force) AS is_open
    FROM (SELECT 'drift' AS kind, as_of, release_id,
            string_agg(feature, ', ' ORDER BY distance - threshold DESC) AS said
        FROM monitoring.feature_drift WHERE is_drifted GROUP BY as_of, release_id
        UNION ALL
        SELECT 'performance', as_of, release_id, string_agg(alarm, '; ' ORDER BY metric)
        FROM monitoring.model_performance WHERE alarm <> '' GROUP BY as_of, release_id) AS alarms"""

# When the pipeline last looked at its months: nothing behind means nothing while nobody looks.
_LOOKS: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.looks (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    looked_at timestamptz NOT NULL
)"""

# The drops in the watched folder that are not taken in, as of the last look at it. What is wrong with them
# is not kept here: it names users, and this table is read by whoever watches.
_NOT_TAKEN: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.drops_not_taken (
    name text PRIMARY KEY,
    month date NOT NULL,
    waits boolean NOT NULL,
    since timestamptz NOT NULL
)"""

MONITORING_TABLES: tuple[LiteralString, ...] = (
    _DRIFT,
    _PERFORMANCE,
    _SEGMENTS,
    REASONS,
    _ALARMS,
    _LOOKS,
    _NOT_TAKEN,
)


_SCORES: LiteralString = """
CREATE TABLE IF NOT EXISTS churn_scores (
    as_of timestamptz NOT NULL,
    user_id text NOT NULL,
    release_id text NOT NULL REFERENCES decisions.releases,
    probability double precision NOT NULL CHECK (probability BETWEEN 0 AND 1),
    rank bigint NOT NULL CHECK (rank > 0),
    expected_profit double precision NOT NULL,
    is_action boolean NOT NULL,
    customer_value double precision,
    PRIMARY KEY (as_of, user_id),
    UNIQUE (as_of, rank)
)"""

# What a month was last scored from, also where that made no rows: no release was in force. What the rows
# come to is kept beside it, so that nobody has to read them all for it; and the campaign whose terms say
# whose call is due, null where the settings do.
_RUNS: LiteralString = """
CREATE TABLE IF NOT EXISTS churn_score_runs (
    as_of timestamptz PRIMARY KEY,
    known_at timestamptz,
    release_id text REFERENCES decisions.releases,
    users bigint,
    expected_leavers double precision,
    value_at_risk double precision,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    campaign_id bigint REFERENCES decisions.campaigns
)"""

_ACTIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS action_list (
    as_of timestamptz NOT NULL,
    user_id text NOT NULL,
    treatment_group text NOT NULL CHECK (treatment_group IN ('treated', 'control')),
    reason_1 text,
    reason_2 text,
    reason_3 text,
    band smallint CHECK (band > 0),
    segments jsonb,
    PRIMARY KEY (as_of, user_id),
    FOREIGN KEY (as_of, user_id) REFERENCES churn_scores ON DELETE CASCADE
)"""

# The months of the list as `retention.action_list` has them, so that its page of a month is found by them.
LISTED_INDEX: LiteralString = """
CREATE INDEX IF NOT EXISTS churn_scores_listed
    ON churn_scores (((date_trunc('month', as_of AT TIME ZONE 'UTC'))::date), rank) WHERE is_action"""
# The planner does not take it from an index of a part of the rows how many of them are of a month.
MONTH_STATISTICS: LiteralString = """
CREATE STATISTICS IF NOT EXISTS churn_scores_month
    ON ((date_trunc('month', as_of AT TIME ZONE 'UTC'))::date) FROM churn_scores"""
LIST_INDEX: LiteralString = """
CREATE INDEX IF NOT EXISTS action_list_month
    ON action_list (((date_trunc('month', as_of AT TIME ZONE 'UTC'))::date), user_id)"""
TREATMENTS_INDEX: LiteralString = """
CREATE INDEX IF NOT EXISTS treatments_month
    ON treatments (((date_trunc('month', as_of AT TIME ZONE 'UTC'))::date), user_id)"""

# One row per list that stands: what it comes to, and its fingerprint, null for lists of before it was kept.
LISTS: LiteralString = """
CREATE TABLE IF NOT EXISTS action_lists (
    as_of timestamptz PRIMARY KEY,
    treated bigint NOT NULL CHECK (treated >= 0),
    control bigint NOT NULL CHECK (control >= 0),
    expected_profit double precision NOT NULL,
    fingerprint text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
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
    outcome text,
    actor text,
    withdrawn_at timestamptz,
    PRIMARY KEY (as_of, user_id)
)"""
# How many treatments of a month stand, and when one was last reported, replaced or withdrawn: so that nobody
# has to count them for it.
TREATMENT_MONTHS: LiteralString = """
CREATE TABLE IF NOT EXISTS treatment_months (
    as_of timestamptz PRIMARY KEY,
    users bigint NOT NULL CHECK (users >= 0),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
# Every report that was ever made, and every withdrawal; `treatments` has what stands of them.
TREATMENT_REPORTS: LiteralString = """
CREATE TABLE IF NOT EXISTS treatment_reports (
    report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    as_of timestamptz NOT NULL,
    user_id text NOT NULL,
    treated_at date NOT NULL,
    channel text NOT NULL,
    offer text,
    outcome text,
    actor text,
    is_withdrawal boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
GUARD_REPORTS: LiteralString = """
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON treatment_reports
    FOR EACH STATEMENT EXECUTE FUNCTION decisions.refuse_change()"""


# What calling brought when it was last measured; or, in `not_claimed`, why nothing can be said of it. Of the
# reports it counts those up to `reported_at`.
UPLIFT: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.uplift (
    as_of timestamptz PRIMARY KEY,
    listed bigint NOT NULL CHECK (listed >= 0),
    not_claimed text,
    treated bigint,
    control bigint,
    churn_treated double precision,
    churn_control double precision,
    uplift double precision,
    uplift_low double precision,
    uplift_high double precision,
    saved_users double precision,
    saved_users_low double precision,
    saved_users_high double precision,
    cost double precision,
    profit double precision,
    profit_low double precision,
    profit_high double precision,
    contacted bigint,
    breaches bigint,
    unlabelled bigint,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reported_at timestamptz,
    CHECK ((not_claimed IS NULL) = (uplift IS NOT NULL))
)"""
# The same of the users of one level of a segment; a month without labels has none.
_UPLIFT_SEGMENTS: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.uplift_segments (
    as_of timestamptz NOT NULL,
    segment text NOT NULL,
    level text NOT NULL,
    listed bigint NOT NULL CHECK (listed > 0),
    not_claimed text,
    treated bigint,
    control bigint,
    churn_treated double precision,
    churn_control double precision,
    uplift double precision,
    uplift_low double precision,
    uplift_high double precision,
    saved_users double precision,
    saved_users_low double precision,
    saved_users_high double precision,
    cost double precision,
    profit double precision,
    profit_low double precision,
    profit_high double precision,
    contacted bigint,
    breaches bigint,
    unlabelled bigint,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (as_of, segment, level),
    CHECK ((not_claimed IS NULL) = (uplift IS NOT NULL))
)"""

SCORING_TABLES: tuple[LiteralString, ...] = (
    _SCORES,
    _RUNS,
    _ACTIONS,
    LISTS,
    _TREATMENTS,
    TREATMENT_MONTHS,
    TREATMENT_REPORTS,
    GUARD_REPORTS,
    UPLIFT,
    _UPLIFT_SEGMENTS,
    LISTED_INDEX,
    MONTH_STATISTICS,
    LIST_INDEX,
    TREATMENTS_INDEX,
)


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

EVALUATION_TABLES: tuple[LiteralString, ...] = (_BACKTESTS, _FIGURES)


# What those who run the system are told. What is made again tells nothing twice: `key` says what it is about.
_EVENTS: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.events (
    event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    key text NOT NULL UNIQUE,
    kind text NOT NULL,
    data jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_GUARD_EVENTS: LiteralString = """
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON monitoring.events
    FOR EACH STATEMENT EXECUTE FUNCTION decisions.refuse_change()"""

# Where events are sent, and since when: a target is told nothing of what was there before it.
_EVENT_TARGETS: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.event_targets (
    target text PRIMARY KEY,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_EVENT_DELIVERIES: LiteralString = """
CREATE TABLE IF NOT EXISTS monitoring.event_deliveries (
    event_id uuid NOT NULL REFERENCES monitoring.events,
    target text NOT NULL REFERENCES monitoring.event_targets,
    state text NOT NULL CHECK (state IN ('earlier', 'waiting', 'delivered', 'given up')),
    attempts bigint NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    due_at timestamptz NOT NULL,
    problem text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event_id, target)
)"""
_EVENTS_DUE: LiteralString = """
CREATE INDEX IF NOT EXISTS event_deliveries_due
    ON monitoring.event_deliveries (target, due_at) WHERE state = 'waiting'"""

EVENT_TABLES: tuple[LiteralString, ...] = (
    _EVENTS,
    _GUARD_EVENTS,
    _EVENT_TARGETS,
    _EVENT_DELIVERIES,
    _EVENTS_DUE,
)


_VERSIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.schema_versions (
    version bigint PRIMARY KEY CHECK (version > 0),
    what text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

# The newest row is the contract that the tables follow; its text is kept to compare the next one with it.
_CONTRACTS: LiteralString = """
CREATE TABLE IF NOT EXISTS decisions.contracts (
    contract_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    fingerprint text NOT NULL,
    contract text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

VERSION_TABLES: tuple[LiteralString, ...] = (_VERSIONS, _CONTRACTS)


# Who may sign in to the console with a password; whoever is removed is gone from here, not from the acts.
_PEOPLE: LiteralString = """
CREATE TABLE IF NOT EXISTS console.people (
    person text PRIMARY KEY CHECK (trim(person) <> ''),
    role text NOT NULL CHECK (role IN ('viewer', 'caller', 'approver', 'administrator')),
    password_hash text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

# A link that signs somebody in once. Of it, as of a session, only the hash of its token is kept.
_LINKS: LiteralString = """
CREATE TABLE IF NOT EXISTS console.links (
    token_sha256 text PRIMARY KEY CHECK (token_sha256 ~ '^[0-9a-f]{64}$'),
    person text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'caller', 'approver', 'administrator')),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
)"""

_SESSIONS: LiteralString = """
CREATE TABLE IF NOT EXISTS console.sessions (
    token_sha256 text PRIMARY KEY CHECK (token_sha256 ~ '^[0-9a-f]{64}$'),
    person text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'caller', 'approver', 'administrator')),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
)"""

_ACTS: LiteralString = """
CREATE TABLE IF NOT EXISTS console.acts (
    act_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    act text NOT NULL,
    person text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_ACTS_INDEX: LiteralString = """
CREATE INDEX IF NOT EXISTS acts_recorded ON console.acts (act, recorded_at)"""

_GUARD_ACTS: LiteralString = """
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON console.acts
    FOR EACH STATEMENT EXECUTE FUNCTION decisions.refuse_change()"""

# The console's role begins sessions by these two alone: it cannot make one for a role of its choice. Person
# and role are those of a link that nobody used yet, or of somebody whose password's hash is the one given:
# that the password was verified is the console's word, since Postgres does not know argon2.
_BEGIN_BY_LINK: LiteralString = """
CREATE OR REPLACE FUNCTION console.begin_by_link(link text, session text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE used console.links%ROWTYPE;
BEGIN
    UPDATE console.links SET used_at = clock_timestamp()
        WHERE token_sha256 = link AND used_at IS NULL AND expires_at > clock_timestamp()
        RETURNING * INTO used;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    DELETE FROM console.sessions WHERE expires_at < clock_timestamp();
    INSERT INTO console.sessions (token_sha256, person, role, expires_at)
        VALUES (session, used.person, used.role, clock_timestamp() + interval '12 hours');
    RETURN used.person;
END $$"""
_BEGIN_FOR_PERSON: LiteralString = """
CREATE OR REPLACE FUNCTION console.begin_by_password(name text, verified text, session text)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM console.sessions WHERE expires_at < clock_timestamp();
    INSERT INTO console.sessions (token_sha256, person, role, expires_at)
        SELECT session, p.person, p.role, clock_timestamp() + interval '12 hours'
        FROM console.people AS p WHERE p.person = name AND p.password_hash = verified;
    RETURN FOUND;
END $$"""

# What approvers ask the pipeline to do; one thing at a time. `seen` is the release in force on their page.
_REQUESTS: LiteralString = """
CREATE TABLE IF NOT EXISTS console.requests (
    request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what text NOT NULL CHECK (what IN ('promote', 'rollback')),
    version text NOT NULL,
    seen text NOT NULL,
    reason text NOT NULL CHECK (trim(reason) <> ''),
    person text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'done', 'refused')),
    answer text NOT NULL DEFAULT '',
    seq bigint,
    ended_at timestamptz,
    CHECK ((what = 'promote') = (version <> '')),
    CHECK ((state = 'done') = (seq IS NOT NULL))
)"""
_ONE_REQUEST: LiteralString = """
CREATE UNIQUE INDEX IF NOT EXISTS requests_one_at_a_time ON console.requests (state)
    WHERE state = 'asked'"""
# Who asks is taken from their session, so that no other name can be given.
_ASK: LiteralString = """
CREATE OR REPLACE FUNCTION console.ask(session text, what text, version text, seen text, reason text)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE who text; asked bigint;
BEGIN
    SELECT s.person INTO who FROM console.sessions AS s WHERE s.token_sha256 = session
        AND s.expires_at > clock_timestamp() AND s.role IN ('approver', 'administrator');
    IF who IS NULL THEN
        RAISE EXCEPTION 'no session of an approver' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO console.requests (what, version, seen, reason, person)
        VALUES (what, version, seen, reason, who) RETURNING request_id INTO asked;
    RETURN asked;
END $$"""

# What came of each drop in the watched folder, for the page Data: a report names users.
_DROP_OUTCOMES: LiteralString = """
CREATE TABLE IF NOT EXISTS console.drop_outcomes (
    outcome_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    state text NOT NULL CHECK (state IN ('taken in', 'unchanged', 'waits', 'refused')),
    report text NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""
_OF_NOBODY: LiteralString = """
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA console FROM PUBLIC"""

CONSOLE_TABLES: tuple[LiteralString, ...] = (
    _PEOPLE,
    _LINKS,
    _SESSIONS,
    _ACTS,
    _ACTS_INDEX,
    _GUARD_ACTS,
    _BEGIN_BY_LINK,
    _BEGIN_FOR_PERSON,
    _REQUESTS,
    _ONE_REQUEST,
    _ASK,
    _DROP_OUTCOMES,
    _OF_NOBODY,
)


# Who may ask the API, where it asks for keys. Of a key the hash is kept, and its beginning, by which people
# tell one from another; `last_used_on` is a day and no more.
_API_KEYS: LiteralString = """
CREATE TABLE IF NOT EXISTS access.api_keys (
    name text PRIMARY KEY CHECK (trim(name) <> ''),
    key_sha256 text NOT NULL UNIQUE CHECK (key_sha256 ~ '^[0-9a-f]{64}$'),
    beginning text NOT NULL,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0
        AND scopes <@ ARRAY['features', 'predict', 'explain', 'metrics', 'admin']),
    expires_on date,
    last_used_on date,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""

ACCESS_TABLES: tuple[LiteralString, ...] = (_API_KEYS,)


# In the order in which a new database gets them; the schema's signature depends on this order.
STATEMENTS: tuple[LiteralString, ...] = (
    *DECISION_TABLES,
    *PLAUSIBILITY_TABLES,
    *ERASURE_TABLES,
    *MONITORING_TABLES,
    *SCORING_TABLES,
    *EVALUATION_TABLES,
    *EVENT_TABLES,
    *CONSOLE_TABLES,
    *ACCESS_TABLES,
    *VERSION_TABLES,
)
