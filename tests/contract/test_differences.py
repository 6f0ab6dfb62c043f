"""What adds to a system with data, and what breaks it."""

import pytest

from churn.contract.differences import differences
from churn.contract.document import read_contract
from tests.kit.streamflow import FIRST

STREAMFLOW = FIRST
USAGE = "tables.usage_agg_30d.columns"
SUBSCRIPTIONS = "tables.subscriptions.columns"
REBUFFERS = "      rebuffer_events_7d: {"

CASES = [
    # old text, new text, where, whether it breaks, a word of it
    (REBUFFERS, "      buffer_share: {type: float, optional: true, since: 2}\n" + REBUFFERS,
     f"{USAGE}.buffer_share", False, "feature since version 2"),
    (REBUFFERS, "      buffer_share: {type: float, optional: true}\n" + REBUFFERS,
     f"{USAGE}.buffer_share", True, "since: 2"),
    (REBUFFERS, "      other_events_7d: {", f"{USAGE}.rebuffer_events_7d", True, "is gone"),
    ("skips_7d: {type: int", "skips_7d: {type: float", f"{USAGE}.skips_7d.type", True, "exact: true"),
    ("skips_7d: {type: int", "skips_7d: {exact: true, type: float", f"{USAGE}.skips_7d.type", False, "int"),
    ("months_active:\n        {type: int", "months_active:\n        {type: float",
     f"{SUBSCRIPTIONS}.months_active.type", False, "int"),
    ("signup_date: {type: date", "signup_date: {type: date, source: [signed, signup_date]",
     "tables.users.columns.signup_date.source", False, "signed"),
    ("  users:\n    snapshot", "  users:\n    key: Kunde\n    snapshot", "tables.users.key", False, "Kunde"),
    ("  users:\n    snapshot", "  users:\n    dialect: {decimal: ','}\n    snapshot",
     "tables.users.dialect", False, "delivered again"),
    ("baseline_service: churn_baseline", "baseline_service: churn_rich",
     "default_service, baseline_service", False, "another"),
    ("monthly_fee:\n        {type: float", "monthly_fee:\n        {type: int",
     f"{SUBSCRIPTIONS}.monthly_fee.type", True, "new column"),
    ("{type: int, max: 1200", "{type: int, max: 600", f"{SUBSCRIPTIONS}.months_active", False, "refused"),
    ("{type: int, max: 1200", "{type: int, max: 6000", f"{SUBSCRIPTIONS}.months_active", False, "more"),
    ("signup_date: {type: date", "signup_date: {type: date, source: signed",
     "tables.users.columns.signup_date.source", False, "signed"),
    ("name: streamflow", "name: acme", "name", True, "MLflow"),
    ("first_month: 2024-01", "first_month: 2023-01", "first_month", True, "2023-01"),
    ("snapshot: users_snapshots", "snapshot: user_history", "tables.users.snapshot", True, "users_snapshots"),
    ("columns: [months_active, monthly_fee,", "columns: [monthly_fee, months_active,",
     "views.subs_profile_fv", True, "order"),
    ("label: {from: file}", "label: {from: absent}", "label", True, "derived anew"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "where", "breaks", "word"), CASES)
def test_each_difference(old: str, new: str, where: str, breaks: bool, word: str) -> None:
    assert old in STREAMFLOW.text
    changed = read_contract(STREAMFLOW.text.replace(old, new), "changed")
    by_where = {each.where: each for each in differences(STREAMFLOW, changed)}
    assert by_where[where].is_breaking == breaks
    assert word in str(by_where[where])
    assert breaks == any(each.is_breaking for each in by_where.values())


def test_a_table_may_be_added_and_not_be_taken_away() -> None:
    more = STREAMFLOW.text.replace(
        "\n# A view holds",
        "\n  devices:\n    optional: true\n    columns:\n      tvs: {type: int, since: 2}\n\n# A view holds",
    ).replace("  users_profile_fv:", "  devices_fv: {table: devices}\n  users_profile_fv:")
    grown = read_contract(more, "grown")
    added = differences(STREAMFLOW, grown)
    assert {each.where for each in added} == {
        "tables.devices",
        "views.devices_fv",
        "services.churn_rich",
    }
    assert not any(each.is_breaking for each in added)
    assert any(each.is_breaking for each in differences(grown, STREAMFLOW))


def test_nothing_differs_from_itself() -> None:
    assert differences(STREAMFLOW, STREAMFLOW) == ()
