"""What a person meets: second stacks, taken ports, killed commands, Ctrl-C; with Postgres alone."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from churn.settings import private_home
from churn.stack.parts import PARTS
from churn.stack.postgres import ways
from churn.stack.processes import Part, living, silent, spawn
from churn.stack.record import PartRecord, StackRecord, locked
from churn.stack.supervisor import Stack, running_stack, take_down
from tests.kit.commands import OURS, answered, as_another_user, churn, environment, postgres_held
from tests.kit.waiting import until


@pytest.mark.parametrize(
    ("number", "deaf"),
    [
        (signal.SIGINT, ""),
        (signal.SIGTERM, ""),
        (signal.SIGHUP, ""),
        (signal.SIGTERM, "INT TERM"),  # as Dagster makes what a script started in its background
    ],
)
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, deaf: str) -> None:
    with postgres_held(environment(tmp_path), deaf) as command:
        assert living(tmp_path).keys() == {"postgres"}
        command.send_signal(number)
        assert command.wait(300) == 130
    assert not living(tmp_path)
    assert not (tmp_path / "stack.json").exists()
    assert not (tmp_path / "stack.env").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_up_that_is_stopped_half_way(tmp_path: Path, number: signal.Signals) -> None:
    told = environment(tmp_path)
    with subprocess.Popen([sys.executable, "-m", "churn.cli.main", "up"], env=told) as up:
        until(lambda: "init" in living(tmp_path))
        up.send_signal(number)
    if number == signal.SIGKILL:
        assert {"postgres", "init"} <= living(tmp_path).keys()
        assert "command that was killed" in answered(told, "up").stderr
        assert answered(told, "down").returncode == 0
    assert not living(tmp_path)


def test_a_second_stack_is_refused_and_down_stops_the_first(tmp_path: Path) -> None:
    told = environment(tmp_path)
    with postgres_held(told) as command:
        second = answered(told, "up")
        assert second.returncode == 1
        assert f"a churn command is at work here: process {command.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        down = churn(told, "down")
        assert down.returncode == 0, down.stderr
        assert f"waits for process {command.pid} to stop what it has started" in down.stderr
        assert command.wait(300) == 130
    assert not living(tmp_path)


def test_orphans_of_a_killed_command_are_named_and_stopped(tmp_path: Path) -> None:
    told = environment(tmp_path)
    with postgres_held(told) as command:
        command.kill()
        command.wait()
    (orphan,) = [p for p in living(tmp_path)["postgres"] if "-D" in " ".join(p.cmdline())]
    up = answered(told, "up")
    assert up.returncode == 1
    assert f"command that was killed: postgres (process {orphan.pid})" in up.stderr
    assert "`churn down` stops them" in up.stderr
    status = answered(told, "status", "--json")
    assert status.returncode == 1
    parts = {part["name"]: part for part in json.loads(status.stdout)["parts"]}
    assert parts["postgres"]["health"] == "unhealthy"
    assert "was killed" in parts["postgres"]["problem"]
    assert "stopped postgres" in answered(told, "down").stderr
    until(lambda: not living(tmp_path))
    assert "nothing was running" in answered(told, "down").stderr


def test_the_parts_of_a_command_are_known_again_after_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux derives when a process began from the time of day: setting the clock moves both together."""
    home, procfs = tmp_path / "home", tmp_path / "proc"
    procfs.mkdir()
    with postgres_held(environment(home)) as command:
        for pid in (command.pid, *(p.pid for p in living(home)["postgres"])):
            (procfs / str(pid)).symlink_to(f"/proc/{pid}")
        lines = Path("/proc/stat").read_text().splitlines()
        before = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
        (procfs / "stat").write_text(f"btime {before + 3_601}\n")
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(procfs))
        assert psutil.boot_time() == before + 3_601
        stack = Stack(home)
        assert (stack.alive, stack.abandoned()) == ({"postgres"}, [])
        command.kill()
        command.wait()
        assert Stack(home).abandoned() == ["postgres"]
        monkeypatch.undo()
    assert answered(environment(home), "down").returncode == 0
    assert not living(home)


def test_a_postgres_that_died_comes_back_where_it_was_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHURN_HOME", str(tmp_path))
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    other = spawn(Part("api", lambda: sleep), tmp_path, {})
    try:
        record = StackRecord(parts={"api": PartRecord(pid=other.pid, port=8125, started=0)})
        record.write(tmp_path, {})
        Stack(tmp_path).start(("postgres",), silent, temporary=False)  # as `churn up` does
        before = StackRecord.read(tmp_path).parts["postgres"]
        died = psutil.Process(before.pid)
        died.kill()
        died.wait(20)
        until(lambda: "postgres" in Stack(tmp_path).fallen)
        with running_stack(("postgres",)) as stack:
            assert stack.environment["POSTGRES_PORT"] == str(before.port)
            assert os.environ["POSTGRES_PORT"] == str(before.port)
            with locked(tmp_path):  # the block has nothing to stop at its end, and keeps nobody out
                pass
        after = StackRecord.read(tmp_path).parts["postgres"]
        assert (after.port, after.temporary) == (before.port, False)
        assert after.pid != before.pid
        assert "postgres" in Stack(tmp_path).alive
    finally:
        take_down(tmp_path, ["api", "postgres"], silent)
    assert not (tmp_path / "stack.json").exists()


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        up = answered(environment(tmp_path, MLFLOW_PORT=str(port)), "up")
    assert up.returncode == 1
    assert f"port {port} of mlflow (MLFLOW_PORT) is taken by process" in up.stderr
    assert "MLFLOW_PORT=" in up.stderr.split("->")[1]
    assert not living(tmp_path)
    assert not (tmp_path / "postgres" / "data").exists()


def test_a_part_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    told = environment(tmp_path)
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    up = answered(told, "up")
    assert up.returncode == 1
    assert "postgres ended with status 2" in up.stderr
    assert "could not access the server configuration file" in up.stderr
    assert str(tmp_path / "logs" / "postgres.log") in up.stderr
    assert not living(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "POSTGRES_PASSWORD",
        "API_POSTGRES_PASSWORD",
        "CONSOLE_POSTGRES_PASSWORD",
        "METRICS_POSTGRES_PASSWORD",
    ],
)
def test_half_of_the_settings_of_another_server_are_refused(tmp_path: Path, name: str) -> None:
    up = answered(environment(tmp_path, **{name: "secret"}), "up")
    assert up.returncode == 1
    assert f"environment: {name} without POSTGRES_HOST" in up.stderr


def test_status_of_nothing(tmp_path: Path) -> None:
    told = environment(tmp_path / "none")
    status = answered(told, "status")
    assert status.returncode == 1
    assert status.stdout.count("stopped") == len(PARTS)
    assert not (tmp_path / "none").exists()
    assert answered(told, "down").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_state_folder_of_somebody_else(tmp_path: Path) -> None:
    down = subprocess.run(
        [*ways(0)[1][1], sys.executable, "-m", "churn.cli.main", "down"],
        env=as_another_user(environment(tmp_path)),
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert down.returncode == 1
    assert "belongs to another user" in down.stderr
    assert "Traceback" not in down.stderr


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder in which any user may look around, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="churn-reachable-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_state_folder_is_its_owners_alone(reachable: Path) -> None:
    home, elsewhere = reachable / "home", reachable / "elsewhere"
    (home / "deliveries").mkdir(parents=True)
    elsewhere.mkdir()
    (home / "drops").symlink_to(elsewhere)
    for name in ("lock", "old.json"):
        (home / name).touch()
        (home / name).chmod(0o644)
    home.chmod(0o755)
    with postgres_held(environment(home)):
        (server,) = [p for p in living(home)["postgres"] if "-D" in " ".join(p.cmdline())]
        data = home / "postgres" / "data"
        # Where root starts it, Postgres is somebody else's: its group may walk to the data, and see nothing.
        walked = {home, home / "postgres"} if os.geteuid() == 0 else set()
        for path in [
            home,
            *home.iterdir(),
            *(home / "postgres").iterdir(),
            *(home / "logs").iterdir(),
        ]:
            if not path.is_symlink():
                assert rights(path) & 0o077 == (0o010 if path in walked else 0), path
        assert all(path.stat().st_gid == data.stat().st_gid for path in walked)
        assert rights(elsewhere) == 0o755
        if os.geteuid() == 0:
            assert server.uids().effective == data.stat().st_uid != 0
            held = Path(f"/proc/{server.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in held  # no right to look where it must not
            as_server = ["setpriv", "--reuid", str(server.uids().effective), "--regid",
                         str(data.stat().st_gid), "--clear-groups"]  # fmt: skip
            for forbidden in (
                ["ls", home],
                ["cat", home / "old.json"],
                ["flock", "-n", home / "lock", "true"],
            ):
                assert (
                    subprocess.run([*as_server, *map(str, forbidden)], check=False).returncode != 0
                )


def test_a_folder_that_is_not_ours_alone_keeps_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, mode in (("temporary", 0o1777), ("clone", 0o755), ("own", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(mode)
        if name == "clone":
            (folder / ".git").mkdir()
        monkeypatch.setenv("CHURN_HOME", str(folder))
        private_home()
        assert rights(folder) == (0o700 if name == "own" else mode)


def test_a_file_that_a_person_names_has_the_rights_of_their_shell(tmp_path: Path) -> None:
    arguments = ["generate", "--users=50", "--months=1", f"--out={tmp_path / 'drops'}"]
    before = os.umask(0o022)
    try:
        done = answered(environment(tmp_path / "home"), *arguments)
    finally:
        os.umask(before)
    assert done.returncode == 0
    assert rights(tmp_path / "drops" / "month_000") == 0o755
    assert rights(tmp_path / "drops" / "month_000" / "users.csv") == 0o644
