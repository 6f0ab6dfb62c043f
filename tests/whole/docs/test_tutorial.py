"""The tutorial, typed as it stands: every command of it, from the demo's end on, in one shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from churn.stack.processes import free_port

PAGE = (Path(__file__).parents[3] / "docs" / "tutorial.md").read_text(encoding="utf-8")
PORTS = ("CONSOLE_PORT", "DAGSTER_PORT", "MLFLOW_PORT", "API_PORT")
OURS = ("CHURN_", "POSTGRES_", "MLFLOW_", "DAGSTER_", "FEAST_")


def typed(text: str) -> list[str]:
    """What is typed in console blocks: a line with a prompt, and lines set in by three blanks that go on."""
    lines: list[str] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        goes_on = False
        for line in block.splitlines():
            if line.startswith("$ "):
                lines.append(line.removeprefix("$ "))
            elif goes_on:
                lines[-1] += f"\n{line}"
            else:
                continue
            goes_on = lines[-1].count("(") > lines[-1].count(")")
    return lines


def test_a_command_of_several_lines_is_one() -> None:
    text = "```console\n$ churn up\nup\n$ (echo a\n   echo b) > c\n$ churn down\n```\n"
    assert typed(text) == ["churn up", "(echo a\n   echo b) > c", "churn down"]


@pytest.mark.whole
def test_every_command_of_the_tutorial_does_what_is_told(tmp_path: Path) -> None:
    commands = typed(PAGE.split("## 2. ")[1])
    assert commands[0] == "cd .."
    assert commands[-1] == "churn down"
    clone = tmp_path / "churn"
    clone.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    environment |= {port: str(free_port()) for port in PORTS}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-exc", "\n".join(commands)],
        cwd=clone, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        # What was started must not outlive the test.
        mine = tmp_path / "mine"
        down = [sys.executable, "-m", "churn.cli.main", "down"]
        subprocess.run(down, cwd=mine, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = " ".join(f"{done.stdout} {done.stderr}".split())
    for words in (
        "mine: a project of the contract mine",
        "keeps the contract mine",
        "waits for labels (2024-06-30)",
        "to leave alone; 3 shown",
        "(leaves within the following month)",
        "new, 0 changed, 0 unchanged",
        "the calls are not shown to have kept anybody",
    ):
        assert words in told
    assert (tmp_path / "mine" / "calls.csv").is_file()
