"""What a database lacks of a contract, and what is in the way."""

import pytest

from churn.contract.document import read_contract
from churn.database.changes import changes, columns_of
from tests.kit.grown_contract import GROWN, STREAMFLOW


def test_a_contract_lacks_nothing_of_its_own_tables() -> None:
    assert changes(STREAMFLOW, columns_of(STREAMFLOW)) == ()


def test_what_a_grown_contract_adds() -> None:
    differences = changes(GROWN, columns_of(STREAMFLOW))
    assert {change.kind for change in differences} == {"additive"}
    assert [change.what.split(" (")[0] for change in differences] == [
        "column skips_7d of table usage_agg_30d becomes double precision, which holds every value that is"
        " there",
        "column stalled_share_30d of table usage_agg_30d is new",
        "table devices is new",
        "feature skips_7d of view usage_agg_30d_fv becomes double precision, served as bigint so far",
        "feature stalled_share_30d of view usage_agg_30d_fv is new",
        "feature view devices_fv is new",
        "feature smart_tvs of view devices_fv is new",
    ]


def test_what_it_added_cannot_be_taken_back() -> None:
    differences = changes(STREAMFLOW, columns_of(GROWN))
    breaking = [change for change in differences if change.kind == "breaking"]
    assert [change.what for change in breaking] == [
        "column skips_7d of table usage_agg_30d would become bigint, which does not hold every double"
        " precision",
        "column stalled_share_30d of table usage_agg_30d is gone",
        "table devices is gone",
        "table devices_snapshots is gone",
        "feature skips_7d of view usage_agg_30d_fv becomes bigint, served as double precision so far",
        "devices_fv is no feature view or feature any more",
    ]
    assert all(change.remedy for change in breaking)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("exact: true", "exact: false", "breaking"),
        ("monthly_fee:\n        {type: float", "monthly_fee:\n        {exact: true, type: float", "additive"),
        ("has_family: {type: bool", "has_family: {type: int", "breaking"),
        ("skips_7d: {type: int", "skips_7d: {exact: true, type: float", "additive"),
    ],
)  # fmt: skip
def test_types_may_become_wider_and_no_narrower(old: str, new: str, kind: str) -> None:
    assert old in STREAMFLOW.text
    changed = read_contract(STREAMFLOW.text.replace(old, new), "changed")
    assert {change.kind for change in changes(changed, columns_of(STREAMFLOW))} == {kind}
