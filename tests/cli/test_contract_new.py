"""From exports to a contract and to a project: what the commands write and say."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from churn.cli.main import app
from churn.settings import contract_path, get_settings, kept_drops


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    for month, rows in (("2023-05", "m-1,Ulm\nm-2,Bonn\n"), ("2023-06", "m-1,Ulm\nm-3,Bonn\n")):
        folder = tmp_path / "exports" / month
        folder.mkdir(parents=True)
        (folder / "members.csv").write_text(f"Member No,City\n{rows}")
    return tmp_path / "exports"


def churn(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"})


def test_a_draft_is_written_and_said(exports: Path, tmp_path: Path) -> None:
    to = tmp_path / "gym.yaml"
    answer = churn("contract", "init", exports, "--out", to)
    assert answer.exit_code == 0, answer.stderr
    assert "2 months, from 2023-05 on" in answer.stdout
    assert "1 of the first month's 2 are missing in the second" in answer.stdout
    assert "key: {source: Member No, example: m-1}" in to.read_text()
    again = churn("contract", "init", exports, "--out", to)
    assert again.exit_code == 1
    assert "is there already" in again.stderr
    assert churn("contract", "init", exports, "--out", to, "--overwrite").exit_code == 0
    nowhere = churn("contract", "init", exports, "--out", tmp_path / "nowhere" / "gym.yaml")
    assert nowhere.exit_code == 1
    assert "give --out a file in a folder that is there" in nowhere.stderr


def test_a_project_keeps_its_contract_and_its_drops(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gym"
    answer = churn("new", folder, "--from", exports)
    assert answer.exit_code == 0, answer.stderr
    assert (folder / ".churn").stat().st_mode & 0o077 == 0
    assert "What a person must decide" in (folder / "README.md").read_text()
    for name in ("CHURN_HOME", "CHURN_CONTRACT", "CHURN_DROPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    get_settings.cache_clear()
    assert contract_path() == folder / "contract.yaml"
    assert kept_drops() == get_settings().drops == exports
    get_settings.cache_clear()
    assert "is there already" in churn("new", folder, "--from", exports).stderr


def test_an_export_whose_name_says_no_month_becomes_the_first_drop(
    exports: Path, tmp_path: Path
) -> None:
    flat, folder = exports / "2023-05", tmp_path / "gym"
    flat.rename(tmp_path / "flat")
    contract = tmp_path / "gym.yaml"
    assert churn("contract", "init", tmp_path / "flat", "--out", contract).exit_code == 0
    answer = churn("new", folder, "--from", tmp_path / "flat", "--contract", contract)
    assert answer.exit_code == 0, answer.stderr
    assert (folder / "contract.yaml").read_text() == contract.read_text()
    assert (folder / "drops" / "month_000" / "members.csv").is_file()
    assert f"CHURN_DROPS='{folder / 'drops'}'" in (folder / ".churn/settings.env").read_text()
