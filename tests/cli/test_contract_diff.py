"""What `churn contract diff` says is to be done next: it depends on whether the new contract is in force."""

from pathlib import Path

from typer.testing import CliRunner

from churn.cli.main import app
from churn.contract.in_force import CONTRACT

SKIPS = "      skips_7d: {"
NEW = "      stalled_30d: {type: int, since: 2, optional: true}\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_contract_in_force_need_not_be_named(tmp_path: Path) -> None:
    built_in = written(tmp_path, "streamflow.yaml", CONTRACT.text)
    before = written(
        tmp_path, "before.yaml", CONTRACT.text.replace("{amount: 200}", "{amount: 100}")
    )
    for arguments in ([str(built_in)], []):
        done = CliRunner().invoke(app, ["contract", "diff", str(before), *arguments])
        assert "next: `churn contract apply`" in done.stderr
        assert done.exit_code == 0


def test_another_contract_is_named_in_the_next_command(tmp_path: Path) -> None:
    before = written(tmp_path, "before.yaml", CONTRACT.text)
    grown = written(tmp_path, "grown.yaml", CONTRACT.text.replace(SKIPS, NEW + SKIPS))
    done = CliRunner().invoke(app, ["contract", "diff", str(before), str(grown)])
    assert f"next: `CHURN_CONTRACT={grown} churn contract apply`" in done.stderr
    assert done.exit_code == 0
