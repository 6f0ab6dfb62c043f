"""The steps by which our own tables came to be as they are, one for each version; migrate.py takes them.

To change a table of ours, change its DDL and add a Step with the ALTER TABLE that makes the same change to an
existing table: a new database is made by the DDL alone, and a test checks that both come out alike. A new
table needs no step.
"""

from dataclasses import dataclass
from typing import LiteralString

from churn.database.tables import (
    CAMPAIGNS,
    GUARD_REPORTS,
    LIST_INDEX,
    LISTED_INDEX,
    LISTS,
    MONTH_STATISTICS,
    REASONS,
    TREATMENT_MONTHS,
    TREATMENT_REPORTS,
    TREATMENTS_INDEX,
    UPLIFT,
)


@dataclass(frozen=True)
class Step:
    """What one version of this code changed about tables that existed before it."""

    version: int
    what: str
    statements: tuple[LiteralString, ...] = ()


STEPS: tuple[Step, ...] = (
    Step(
        2,
        "a publication names the contract that it was made under",
        ("ALTER TABLE online.publications ADD COLUMN contract text",),
    ),
    Step(
        3,
        "a release names the contract that it was fitted under",
        ("ALTER TABLE decisions.releases ADD COLUMN contract text",),
    ),
    Step(
        4,
        "a threshold of drift says whether it is provisional",
        (
            "ALTER TABLE monitoring.feature_drift"
            " ADD COLUMN is_provisional boolean NOT NULL DEFAULT false",
        ),
    ),
    Step(
        5,
        "a delivery keeps what of the contract decided how it was read",
        ("ALTER TABLE raw.deliveries ADD COLUMN translation text",),
    ),
    # Of what was there before, these are filled with the time of the step: the earliest of which it is known
    # that it had been recorded by then. Afterwards each row has its own.
    Step(
        6,
        "a month's drift says when it was recorded",
        (
            "ALTER TABLE monitoring.feature_drift"
            " ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE monitoring.feature_drift"
            " ALTER COLUMN recorded_at SET DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        7,
        "a month's performance says when it was recorded",
        (
            "ALTER TABLE monitoring.model_performance"
            " ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE monitoring.model_performance"
            " ALTER COLUMN recorded_at SET DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        8,
        "a scored user has the value that the expected profit was counted with",
        ("ALTER TABLE churn_scores ADD COLUMN customer_value double precision",),
    ),
    Step(
        9,
        "a scored month keeps what its rows come to, and when they were recorded",
        (
            "ALTER TABLE churn_score_runs ADD COLUMN users bigint,"
            " ADD COLUMN expected_leavers double precision, ADD COLUMN value_at_risk double precision,"
            " ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE churn_score_runs ALTER COLUMN recorded_at SET DEFAULT clock_timestamp()",
            "UPDATE churn_score_runs AS r SET users = s.users, expected_leavers = s.leavers"
            " FROM (SELECT r.as_of, count(s.user_id) AS users, coalesce(sum(s.probability), 0) AS leavers"
            "  FROM churn_score_runs AS r LEFT JOIN churn_scores AS s USING (as_of) GROUP BY r.as_of) AS s"
            " WHERE r.as_of = s.as_of",
        ),
    ),
    Step(
        10,
        "a listed user has the band of the list in which the control group was drawn",
        (
            "ALTER TABLE action_list ADD COLUMN band smallint CHECK (band > 0)",
            "UPDATE action_list AS a SET band = b.band FROM (SELECT as_of, user_id,"
            "  ntile(5) OVER (PARTITION BY as_of ORDER BY rank) AS band"
            "  FROM action_list JOIN churn_scores USING (as_of, user_id)) AS b"
            " WHERE (a.as_of, a.user_id) = (b.as_of, b.user_id)",
        ),
    ),
    Step(
        11,
        "an action list keeps what its rows come to, and when it was made",
        (
            LISTS,
            "INSERT INTO action_lists (as_of, treated, control, expected_profit)"
            " SELECT as_of, count(*) FILTER (WHERE treatment_group = 'treated'),"
            "  count(*) FILTER (WHERE treatment_group = 'control'),"
            "  coalesce(sum(expected_profit) FILTER (WHERE treatment_group = 'treated'), 0)"
            " FROM action_list JOIN churn_scores USING (as_of, user_id) GROUP BY as_of",
            # Months that were scored and in which calling nobody paid: their list is there, and empty.
            "INSERT INTO action_lists (as_of, treated, control, expected_profit)"
            " SELECT as_of, 0, 0, 0 FROM churn_score_runs WHERE users > 0 ON CONFLICT DO NOTHING",
        ),
    ),
    Step(
        12,
        "a delivery says when it was found that it cannot be loaded",
        ("ALTER TABLE raw.deliveries ADD COLUMN marked_at timestamptz",),
    ),
    Step(
        13,
        "a month keeps how many treatments were reported, and when",
        (
            TREATMENT_MONTHS,
            "INSERT INTO treatment_months (as_of, users, recorded_at)"
            " SELECT as_of, count(*), max(recorded_at) FROM treatments GROUP BY as_of",
        ),
    ),
    # What an index of an expression holds is known to the planner after the next ANALYZE.
    Step(
        14,
        "a month's listed scores are found by month and rank",
        (LISTED_INDEX, MONTH_STATISTICS, "ANALYZE churn_scores"),
    ),
    Step(15, "a month's list is found by its month", (LIST_INDEX, "ANALYZE action_list")),
    Step(16, "a month's treatments are found by it", (TREATMENTS_INDEX, "ANALYZE treatments")),
    Step(
        17,
        "a month that is behind says since when",
        (
            "ALTER TABLE online.months_behind"
            " ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        18,
        "a publication says when it was made",
        (
            # In two statements: publications of before have no such time, and are not given this one.
            "ALTER TABLE online.publications ADD COLUMN published_at timestamptz",
            "ALTER TABLE online.publications ALTER COLUMN published_at SET DEFAULT clock_timestamp()",
        ),
    ),
    Step(
        19,
        "a treatment has an outcome, and names who reported it",
        (
            "ALTER TABLE treatments ADD COLUMN outcome text",
            "ALTER TABLE treatments ADD COLUMN actor text",
        ),
    ),
    Step(
        20,
        "a listed user has the level of each segment",
        ("ALTER TABLE action_list ADD COLUMN segments jsonb",),
    ),
    Step(
        21,
        "a scored month names the campaign that its list was made under",
        (
            CAMPAIGNS,
            "ALTER TABLE churn_score_runs ADD COLUMN campaign_id bigint REFERENCES decisions.campaigns",
        ),
    ),
    Step(
        22,
        "a list keeps what it comes to by the first reason",
        (
            REASONS,
            "INSERT INTO monitoring.reason_figures (as_of, reason, listed, treated, expected_profit)"
            " SELECT as_of, coalesce(split_part(reason_1, ': ', 1), ''), count(*),"
            "  count(*) FILTER (WHERE treatment_group = 'treated'), sum(expected_profit)"
            " FROM action_list JOIN churn_scores USING (as_of, user_id) GROUP BY 1, 2",
        ),
    ),
    Step(
        23,
        "a treatment that was withdrawn says when",
        ("ALTER TABLE treatments ADD COLUMN withdrawn_at timestamptz",),
    ),
    Step(
        24,
        "a month may have no treatment left",
        (
            "ALTER TABLE treatment_months DROP CONSTRAINT treatment_months_users_check,"
            " ADD CONSTRAINT treatment_months_users_check CHECK (users >= 0)",
        ),
    ),
    Step(
        25,
        "every report of a treatment is kept",
        (
            TREATMENT_REPORTS,
            "INSERT INTO treatment_reports (as_of, user_id, treated_at, channel, offer, outcome, actor,"
            "  is_withdrawal, recorded_at)"
            " SELECT as_of, user_id, treated_at, channel, offer, outcome, actor, false, recorded_at"
            " FROM treatments ORDER BY recorded_at, as_of, user_id",
            GUARD_REPORTS,
        ),
    ),
    Step(
        26,
        "what calling brought says which reports it counts",
        (
            # A database of before there were steps may lack the table.
            UPLIFT,
            "ALTER TABLE monitoring.uplift ADD COLUMN IF NOT EXISTS reported_at timestamptz",
            "UPDATE monitoring.uplift AS u SET reported_at = m.recorded_at FROM treatment_months AS m"
            " WHERE m.as_of = u.as_of AND m.recorded_at < u.recorded_at",
        ),
    ),
)
