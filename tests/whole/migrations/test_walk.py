"""A system of before, a grown contract, the next drop, the same drop again and a correction: one walk."""

import json
import os
import subprocess
import sys

from churn.lake.files import write_view
from churn.months import Month
from churn.settings import Settings
from tests.kit.grown_contract import GROWN_TEXT
from tests.kit.streamflow import FIRST

MONTHS = [Month.parse(f"2024-0{n}") for n in (1, 2, 3)]


def test_months_go_on_under_a_contract_that_has_grown(version_1: Settings) -> None:
    for month in MONTHS:  # the lake of before, by the contract of before
        for view in FIRST.views:
            write_view(month, view)
    contract = version_1.home / "grown.yaml"
    contract.write_text(GROWN_TEXT)
    done = subprocess.run(
        [sys.executable, "-m", "tests.kit.walk_of_a_grown_contract"],
        env={**os.environ, "CHURN_CONTRACT": str(contract)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    # What was delivered before is there already, whatever column it has no value of.
    assert not seen["again"]
    assert seen["april"] == ["accepted"]
    assert seen["online"] == [60, 60, 30, 60]
    assert seen["march"]["stalled_share_30d"] == [None] * 3
    assert seen["march"]["smart_tvs"] == [None] * 3
    assert [[value] for value in seen["march"]["skips_7d"]] == seen["kept"]
    assert seen["april_joined"]["stalled_share_30d"] == [0.25]
    assert seen["april_joined"]["smart_tvs"] == [2]
    assert seen["correction"] == ["corrected"]
    assert seen["february"] == [57, 0]
