"""`churn campaign`: what the console's Planner does, on the command line."""

import re

from typer.testing import CliRunner

from churn.cli.main import app
from churn.database import connect
from churn.scoring.campaigns import campaigns
from churn.settings import Settings
from tests.kit.planned_months import defaults, put_planned


def churn(*arguments: str):
    return CliRunner().invoke(app, ["campaign", *arguments], env={"COLUMNS": "160"})


def test_a_plan_is_shown_and_a_campaign_saved_and_listed(settings: Settings) -> None:
    listed = put_planned()
    shown = churn("show", "--month", "2024-05")
    assert shown.exit_code == 0, shown.stderr
    assert "none: the settings" in shown.stdout
    assert re.search(rf"on the list\s+{len(listed)}\s", shown.stdout)
    other = churn("show", "--month", "2024-05", "--term", "budget=100")
    assert int(re.search(r"on the list\s+(\d+)\s", other.stdout)[1]) < len(listed)  # type: ignore[index]

    assert "none was saved" in churn("list").stderr
    given = ["--term", "budget=8000", "--term", "control_share=0.2"]
    answer = churn("save", "--from", "2024-06", "--reason", "more [callers]", *given)
    assert answer.exit_code == 0, answer.stderr
    assert "campaign 1 holds from 2024-06 on" in answer.stderr
    with connect() as connection:
        (campaign,) = campaigns(connection)
    terms = {**defaults(), "budget": 8_000, "control_share": 0.2}
    assert campaign.terms.model_dump() == terms
    line = churn("list").stdout
    assert "more [callers]" in line
    assert "budget 8000" in line

    # What is not given is as it was to be for that month.
    assert (
        churn("save", "--from", "2024-07", "--reason", "x", "--term", "budget=9000").exit_code == 0
    )
    with connect() as connection:
        newest, _ = campaigns(connection)
    assert newest.terms.model_dump() == {**terms, "budget": 9_000}
    empty = churn("show", "--month", "2024-07")
    assert re.search(r"campaign\s+2\s", empty.stdout)
    assert "nobody was scored in 2024-07" in empty.stderr


def test_what_cannot_be_is_refused(settings: Settings) -> None:
    put_planned()
    for arguments, what in (
        (("--from", "2024-05", "--reason", "x"), "the list of 2024-05 is there already"),
        (("--from", "2024-06", "--reason", ""), "a reason is needed"),
        (("--from", "2024-06", "--reason", "x", "--term", "budget"), "no term with a number"),
        (("--from", "2024-06", "--reason", "x", "--term", "bonus=1"), "and no others"),
    ):
        answer = churn("save", *arguments)
        assert answer.exit_code == 1
        assert what in answer.stderr
    with connect() as connection:
        assert campaigns(connection) == []
