"""Two public sets that nobody here made: their drafts are contracts, and theirs go from exports to an answer.

The contracts beside this file are what `churn contract init` wrote, with the edits that it asked for.
"""

import csv
import shutil
from pathlib import Path

import pytest

from churn.contract.document import read_contract
from churn.contract.structure import Contract
from churn.project import draft_contract
from churn.settings import Settings
from tests.kit.walk_from_exports import walked

CONTRACTS = Path(__file__).parent
FOREIGN = Path(__file__).parents[3].parent / "shared" / "data"
USERS = 400


def exports(name: str) -> Path:
    if not (FOREIGN / name).is_dir():
        pytest.skip(f"the outside set {name} is not here: it is not part of the repository")
    return FOREIGN / name


def contract(name: str) -> Contract:
    path = CONTRACTS / f"{name}.yaml"
    return read_contract(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("name", ["telecom", "saas"])
def test_the_contract_is_the_draft_with_few_edits(name: str) -> None:
    _, draft, drafted = draft_contract(exports(name))
    ours = contract(name)
    assert [t.name for t in drafted.tables] == [
        t.name for t in ours.tables if t.name != "tenure_by_user"
    ]
    for table in drafted.tables:
        assert [c.name for c in ours.table_by_name[table.name].columns] == [
            c.name for c in table.columns
        ]
    drafted_lines = set(draft.text.splitlines())
    changed = [
        line
        for line in (CONTRACTS / f"{name}.yaml").read_text().splitlines()
        if line not in drafted_lines
    ]
    assert 0 < len(changed) <= 14
    assert ours.fingerprint != drafted.fingerprint


def test_saas_is_understood() -> None:
    """A customer is a subscription; accounts and tickets are told by the account, events counted."""
    _, draft, drafted = draft_contract(exports("saas"))
    assert drafted.users.columns[0].source_name == "subscription_id"
    assert (str(drafted.first_month), drafted.drop_folder) == ("2023-07", "{month}")
    assert drafted.label.kind == "absent"
    tickets = drafted.table_by_name["support_tickets_by_user"].select or ""
    assert "LEFT JOIN support_tickets AS f ON f.account_id = p.account_id" in tickets
    accounts = drafted.table_by_name["accounts_by_user"]
    assert (accounts.dialect.true_words, accounts.dialect.date_formats) == (
        ("TRUE",),
        ("%d/%m/%Y",),
    )
    assert accounts.column("account_plan_tier").expected == ("Basic", "Enterprise", "Pro")
    assert [text.split(":")[0] for text in draft.decisions] == [
        "key", "label", "feature_usage_by_user", "support_tickets_by_user", "tenure", "features",
        "customer_value",
    ]  # fmt: skip


def test_telecom_from_one_flat_file_to_an_answer(
    settings: Settings, mlflow_url: str, tmp_path: Path
) -> None:
    """No key, no month, the label in the file: 400 of its customers."""
    lines = (exports("telecom") / "customers.csv").read_text().splitlines(keepends=True)
    drop = tmp_path / "drops" / "month_000"
    drop.mkdir(parents=True)
    (drop / "customers.csv").write_text("".join(lines[: USERS + 1]))
    told = walked(
        CONTRACTS / "telecom.yaml", drop.parent, "7", settings, mlflow_url, tmp_path / "home"
    )
    rows = list(csv.DictReader(lines[: USERS + 1]))
    left = sum(row["Churn"] == "1" for row in rows)
    assert told["failed"] == {}
    assert (told["labelled"], told["rows"], told["leavers"]) == (["2020-01"], [USERS], [left])
    assert told["predict"]["status"] == 200
    assert 0 < told["predict"]["probability"] < 1
    # The seventh row is customer 7.
    assert told["features"]["features"]["call_failure"] == int(rows[6]["Call  Failure"])


@pytest.mark.whole
def test_saas_from_month_folders_to_an_answer(
    settings: Settings, mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two months with some who left: who is missing in the second has left in the first.

    The walks of telecom and of the reshaped StreamFlow (test_reshaped.py, labels by absence, selects) are its
    short form.
    """
    names = ("2024-05", "2024-06")
    monkeypatch.setenv("CHURN_FIRST_MONTH", names[0])
    drops, keys = tmp_path / "drops", []
    for name in names:
        shutil.copytree(exports("saas") / name, drops / name)
        with (drops / name / "subscriptions.csv").open() as file:
            keys.append({row["subscription_id"] for row in csv.DictReader(file)})
    first, second = keys
    user = min(second)
    told = walked(CONTRACTS / "saas.yaml", drops, user, settings, mlflow_url, tmp_path / "home")
    assert told["failed"] == {}
    assert (told["labelled"], told["rows"]) == ([names[0]], [len(first)])
    assert told["leavers"] == [len(first - second)]
    assert told["predict"]["status"] == 200
    assert 0 < told["predict"]["probability"] < 1
    with (drops / names[1] / "feature_usage.csv").open() as file:
        events = sum(row["subscription_id"] == user for row in csv.DictReader(file))
    assert told["features"]["features"]["feature_usage_rows"] == events
