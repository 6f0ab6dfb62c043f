"""The wheel works outside a clone: built, installed beside the libraries, used from an empty folder."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("CHURN_", "DAGSTER_", "FEAST_", "PYTHON")


def run(folder: Path, *command: object) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    environment |= {"DAGSTER_HOME": str(folder), "COLUMNS": "160"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment that has the wheel, and sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    run(ROOT, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist")
    [wheel] = (folder / "dist").glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    install = ("pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel)
    run(folder, Path(sys.executable).with_name("uv"), *install)
    outer = sysconfig.get_path("purelib")
    own = run(folder, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    # The path is added and not searched for .pth files, by which the clone would be found.
    (Path(own.strip()) / "outer.pth").write_text(f"{outer}\n")
    return python.parent


def test_the_image_has_what_its_wheel_is_built_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stage = dockerfile.split(" AS wheel\n")[1].split("\nFROM ")[0]
    copied = {
        word for line in stage.splitlines() if line.startswith("COPY ") for word in line.split()
    }
    assert {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]} <= copied


def test_everything_comes_from_the_wheel(programs: Path, tmp_path: Path) -> None:
    script = (
        "import churn, churn_assets, api, console, feature_repo\n"
        "from churn.stack.parts import repository_file\n"
        "for each in (churn, churn_assets, api, console, feature_repo): print(each.__file__)\n"
        "for name in ('dagster.yaml', 'workspace.yaml'): print(repository_file(name))\n"
    )
    paths = run(tmp_path, programs / "python", "-P", "-c", script).split()
    assert len(paths) == 7
    assert [path for path in paths if not Path(path).is_relative_to(programs.parent)] == []


def test_its_commands_work_in_an_empty_folder(programs: Path, tmp_path: Path) -> None:
    assert "churn demo" in run(tmp_path, programs / "churn", "--help")
    assert "monthly_fee" in run(tmp_path, programs / "churn", "contract", "show")
    for month in ("2023-05", "2023-06"):
        (tmp_path / "exports" / month).mkdir(parents=True)
        members = tmp_path / "exports" / month / "members.csv"
        members.write_text("Member No,City\nm-1,Ulm\nm-2,Bonn\n")
    assert "a project of" in run(tmp_path, programs / "churn", "new", "gym", "--from", "exports")
    assert (tmp_path / "gym" / "contract.yaml").is_file()


def test_its_graph_is_valid_in_an_empty_folder(programs: Path, tmp_path: Path) -> None:
    run(
        tmp_path,
        *(programs / "python", "-m", "dagster", "definitions", "validate"),
        *("-m", "churn_assets.definitions"),
    )
