import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import psutil
import psycopg
import pytest

from churn.errors import ChurnError
from churn.stack.postgres import EmbeddedPostgres, ways
from tests.kit.commands import as_another_user, environment

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")


def connect(server: EmbeddedPostgres, **other: str) -> psycopg.Connection:
    told = server.environment
    return psycopg.connect(
        **{
            "host": told["POSTGRES_HOST"],
            "port": told["POSTGRES_PORT"],
            "user": told["POSTGRES_USER"],
            "password": told["POSTGRES_PASSWORD"],
            "sslmode": told["POSTGRES_SSLMODE"],
            "dbname": "postgres",
            **other,
        }
    )


def test_rows_survive_a_stop_and_a_kill(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    with server, connect(server) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    with server:
        with connect(server) as connection:
            connection.execute("INSERT INTO t VALUES (2)")
        postmaster = _process_on(server.port)
        postmaster.send_signal(signal.SIGKILL)
        _wait_until_gone(postmaster)
    with server, connect(server) as connection:
        assert connection.execute("SELECT sum(n) FROM t").fetchone() == (3,)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW autovacuum").fetchone() == ("on",)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_password_is_wanted_and_private(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    secret = tmp_path / "pg" / "password"
    with server:
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            connect(server, password="wrong")
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert len(server.password) >= 32
        with connect(server) as connection:
            [stored] = (
                connection.execute("SELECT rolpassword FROM pg_authid WHERE rolcanlogin").fetchone()
                or ""
            )
        assert stored.startswith("SCRAM-SHA-256$1:")  # what is made up needs no stretching
        assert server.password not in " ".join(_process_on(server.port).cmdline())
        assert {path.name for path in secret.parent.iterdir()} == {
            "data", "password", "api_password", "console_password", "reader_password",
            "metrics_password", "postgres.log",
        }  # fmt: skip


def test_server_listens_on_the_loopback_only(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as server:
        listening = [
            c for c in _process_on(server.port).net_connections() if c.status == psutil.CONN_LISTEN
        ]
        assert [(c.laddr.ip, c.laddr.port) for c in listening] == [("127.0.0.1", server.port)]


def test_an_initdb_that_was_killed_is_done_again(tmp_path: Path) -> None:
    half = tmp_path / "pg" / "data.unfinished" / "base"
    half.mkdir(parents=True)
    (half.parent / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as server:
        connect(server).close()
    assert not half.parent.exists()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "one", durable=False) as server:
        other = EmbeddedPostgres(tmp_path / "two", port=server.port, durable=False)
        with pytest.raises(ChurnError, match="Address already in use"):
            other.start()


@needs_root
@pytest.mark.parametrize("number", range(len(ways(0))))
def test_every_way_out_of_root(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, prefix = ways(0)[number]
    open_to_all = number == 0  # this one needs folders that others may look into
    folder = Path("/tmp") if open_to_all else tmp_path  # noqa: S108
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"not allowed here: {' '.join(prefix)}")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        Path(name).chmod(0o755 if open_to_all else 0o700)
        monkeypatch.setattr("churn.stack.postgres.ways", lambda _: ((uid, prefix),))
        with EmbeddedPostgres(Path(name) / "pg", durable=False) as server:
            assert _process_on(server.port).uids().effective == uid
        monkeypatch.undo()
        with EmbeddedPostgres(Path(name) / "pg", durable=False) as server:  # the owner decides
            assert _process_on(server.port).uids().effective == uid


@needs_root
def test_no_folder_is_opened_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with EmbeddedPostgres(tmp_path / "state" / "postgres", durable=False) as server:
        assert _process_on(server.port).uids().effective != 0
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "postgres" / "data").stat().st_mode) == 0o700


@needs_root
def test_as_an_ordinary_user(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os
        from churn.database.init import prepare_schema
        from churn.stack.supervisor import running_stack
        with running_stack(("postgres",)) as stack:
            prepare_schema()
            print(os.geteuid(), *stack.alive)
    """)
    # The right to look into folders: this clone and its Python may lie in root's own home.
    uid, may_read = ways(0)[1]
    os.chown(tmp_path, uid, uid)
    done = subprocess.run(
        [*may_read, sys.executable, "-c", script], capture_output=True, text=True, check=False,
        cwd="/", env=as_another_user(environment(tmp_path / "state")),
    )  # fmt: skip
    assert done.stdout == f"{uid} postgres\n", done.stderr
    assert (tmp_path / "state" / "postgres" / "data").stat().st_uid == uid


def _process_on(port: int) -> psutil.Process:
    return next(
        psutil.Process(c.pid)
        for c in psutil.net_connections("tcp")
        if c.laddr.port == port and c.status == psutil.CONN_LISTEN
    )


def _wait_until_gone(process: psutil.Process) -> None:
    psutil.wait_procs([process], timeout=300)
