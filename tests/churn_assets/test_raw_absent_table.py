"""A table that may be absent from a drop, and is: its assets of the month are made, and say so."""

from dataclasses import replace

import pytest

from churn.contract.in_force import BY_NAME, VIEW_BY_NAME
from churn.errors import ChurnError
from churn.lake.files import read_current, view_version
from churn.months import Month
from churn_assets.feature_views import _feature_view
from churn_assets.monthly import MonthStep
from churn_assets.raw import _raw
from churn_assets.snapshots import _snapshot

pytestmark = pytest.mark.usefixtures("settings")
JANUARY = Month.parse("2024-01")
STEP = MonthStep(JANUARY, "run", "record", "parent", log=None)
TABLE = BY_NAME["support_agg_90d"]
VIEW = VIEW_BY_NAME["support_agg_90d_fv"]


def test_a_table_that_may_be_absent_has_no_row_and_the_month_goes_on() -> None:
    table = replace(TABLE, optional=True)
    view = replace(VIEW, table=table)
    for work in (_raw(table), _snapshot(table), _feature_view(view)):
        result = work(STEP)
        assert result.rows == 0
        assert all(outcome.passed for outcome in result.checks)
    assert _raw(table)(STEP).metadata["delivered"] is False
    assert read_current(view, JANUARY).num_rows == 0
    assert view_version(JANUARY, view) is None


def test_one_that_may_not_be_absent_is_asked_for() -> None:
    for work in (_raw(TABLE), _snapshot(TABLE), _feature_view(VIEW)):
        with pytest.raises(ChurnError):
            work(STEP)
