from dataclasses import replace

import pytest

from churn.contract.in_force import CONTRACT, TABLES, USERS
from churn.contract.structure import OddityRule
from churn.deliveries import oddities as module
from churn.deliveries.oddities import oddities, oddities_beside
from churn.deliveries.problems import Oddity
from churn.deliveries.read_csv import read_csv
from churn.deliveries.rules import Users
from churn.errors import ChurnError
from tests.kit.small_drop import FILES, JANUARY
from tests.kit.streamflow import SUBSCRIPTIONS


def odd(*changes: tuple[str, str, str]) -> dict[tuple[str, str], int]:
    files = dict(FILES)
    for name, old, new in changes:
        assert old in files[name]
        files[name] = files[name].replace(old, new)
    counted: list[Oddity] = []
    readings = {table: read_csv(files[table.file].encode(), table) for table in TABLES}
    users = Users.of(readings[USERS].by_user)
    for table, reading in readings.items():
        counted += oddities(table, reading.rows, JANUARY)
        if table is not USERS:
            counted += oddities_beside(users, table, reading.by_user, JANUARY)
    return {(f"{o.file} {o.column}", o.what): o.count for o in counted}


PLAIN = {
    ("subscriptions.csv plan_stream_tv", "blank where net_service is No (unknown, not False)"): 1,
    (
        "subscriptions.csv plan_stream_movies",
        "blank where net_service is No (unknown, not False)",
    ): 1,
    # The two columns say one thing only of those who have internet.
    ("subscriptions.csv plan_stream_movies", "one constant value (True)"): 2,
    ("users.csv has_dependents", "blank"): 1,
    ("support_agg_90d.csv ticket_avg_resolution_hrs_90d", "blank"): 1,
}


def test_what_is_odd_about_the_small_drop():
    assert odd() == PLAIN


CASES = [
    # file, old text, new text, where, what, count
    ("usage_agg_30d.csv", ",4,1", ",4,", "rebuffer_events_7d", "blank", 1),
    ("payments_agg_90d.csv", "a,1", "a,0", "failed_payments_90d", "one constant value (0)", 3),
    ("payments_agg_90d.csv", "c,0\n", "", "user_id", "users of users.csv without a row here", 1),
    ("subscriptions.csv", "Two year", "3 years", "contract_type", "unexpected value '3 years'", 1),
    ("subscriptions.csv", "No\n", "DSL\n", "plan_stream_tv", "blank", 1),
    ("users.csv", "2023-12-05", "2024-02-01", "signup_date", "after 2024-01-31", 1),
    ("users.csv", "2023-06", "2023-04", "signup_date", "contradicts months_active by more than a month", 1),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "where", "what", "count"), CASES)
def test_each_oddity_is_counted(file: str, old: str, new: str, where: str, what: str, count: int):
    key = (f"{file} {where}", what)
    assert key not in PLAIN
    assert odd((file, old, new))[key] == count


def test_hours_without_tickets():
    counts = odd(("support_agg_90d.csv", "a,0,", "a,0,3"))
    where = "support_agg_90d.csv ticket_avg_resolution_hrs_90d"
    assert counts[where, "filled for users without tickets"] == 1


def test_users_who_have_not_begun():
    counts = odd(
        ("subscriptions.csv", "a,1,", "a,0,"), ("subscriptions.csv", "29.85,29.85", "29.85,0")
    )
    assert counts["subscriptions.csv months_active", "0, and total_paid is 0 too"] == 1


def test_a_column_that_is_blank_throughout():
    counts = odd(("payments_agg_90d.csv", ",1", ","), ("payments_agg_90d.csv", ",0", ","))
    assert counts["payments_agg_90d.csv failed_payments_90d", "blank throughout"] == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [("total_paid", "2388000.55"), ("monthly_fee", "65536.01"), ("months_active", "1200")],
)
def test_a_value_far_beyond_all_others_is_named_with_its_user(column: str, value: str) -> None:
    header, row, *_ = FILES["subscriptions.csv"].splitlines()
    rows = [row.replace("a,", f"u{n:02},", 1).split(",") for n in range(40)]
    names = header.split(",")
    for number, cells in enumerate(rows):
        cells[names.index("months_active")] = str(1 + number % 5)
    plain = "\n".join([header, *(",".join(cells) for cells in rows)])
    rows[7][names.index(column)] = value
    spoilt = "\n".join([header, *(",".join(cells) for cells in rows)])
    far = [
        [o for o in oddities(SUBSCRIPTIONS, read_csv(text.encode(), SUBSCRIPTIONS).rows, JANUARY)
         if "far above all others" in o.what]
        for text in (plain, spoilt)
    ]  # fmt: skip
    assert far[0] == []
    [oddity] = far[1]
    assert (oddity.column, oddity.count, oddity.rows) == (column, 1, 40)
    assert f"the largest {float(value):,} of user u07".replace(".0 ", " ") in oddity.what.replace(
        ".0 ", " "
    )


@pytest.mark.parametrize(
    ("when", "what"),
    [
        (
            "(WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r) > 0",
            "did not end within 0.5 s",
        ),
        ("(SELECT len(array_agg(i)) FROM range(1000000000) AS t(i)) > 0", "needs more memory"),
    ],
)
def test_an_expression_that_does_not_end_is_ended(
    when: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = OddityRule("users", "signup_date", when, "is odd")
    monkeypatch.setattr(module, "CONTRACT", replace(CONTRACT, oddities=(rule,)))
    # Each case has one bound within reach, so that no machine is quick or slow enough to meet the other.
    if "RECURSIVE" in when:
        monkeypatch.setattr(module, "_SECONDS", 0.5)
    else:
        monkeypatch.setattr(module, "_SECONDS", 600.0)
        monkeypatch.setattr(module, "MEMORY_BYTES", 64 << 20)
    rows = read_csv(FILES["users.csv"].encode(), USERS).rows
    with pytest.raises(ChurnError, match=f"an oddity of users {what}") as refused:
        oddities(USERS, rows, JANUARY)
    assert when in str(refused.value)
