"""The programs of Prometheus, which Debian's packages `prometheus` and `prometheus-alertmanager` bring."""

import shutil
import subprocess
from pathlib import Path

import pytest

MONITORING = Path(__file__).parents[2] / "monitoring"


def program(*names: str) -> str:
    """Return the path of the first of these that is installed; without one the test is skipped."""
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.skip(f"{names[0]} is not installed: apt-get install prometheus prometheus-alertmanager")


def check(*command: str, folder: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
