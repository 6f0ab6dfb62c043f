"""After `churn forget` nothing names the customer: every column of each table is searched, and every file."""

import datetime as dt
import gzip
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from psycopg import sql

from api.main import create_app
from churn.contract.in_force import PROFILE_TABLES, TABLES, VIEWS
from churn.database import connect
from churn.deliveries import Refusal, accept, accepted, deliver, read_accepted
from churn.deliveries.ledger import in_force
from churn.deliveries.store import is_whole
from churn.erasure.forget import forget
from churn.erasure.in_files import erase as erase_of_files
from churn.erasure.in_files import replace_in_place
from churn.errors import ChurnError
from churn.fingerprint import fingerprint
from churn.lake.files import read_current
from churn.schedule.facts import BATCH_LOCK
from churn.settings import Settings
from churn.training.dataset import build_training_set, read_training_set
from churn.verification.replay import replay
from console.acts import Act, record
from tests.erasure.conftest import GONE, IDS, STAYS, Kept, write_named_drop
from tests.kit.close_month import close
from tests.kit.small_drop import JANUARY, NOW
from tests.kit.waiting import until

WHY = "request of 3 June"
# The id, but not as a part of the other customer's.
PATTERN = rf"{GONE}(?!-2)"


def in_tables() -> Counter[str]:
    """Search every column of every table, partition and view of every schema, as text."""
    places: Counter[str] = Counter()
    with connect() as connection:
        columns = connection.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert len(columns) > 300
        for schema, table, column in columns:
            query = sql.SQL("SELECT count(*) FROM {} WHERE {}::text ~ %s").format(
                sql.Identifier(schema, table), sql.Identifier(column)
            )
            row = connection.execute(query, [PATTERN]).fetchone()
            places[f"{schema}.{table}.{column}"] += row[0]
    return +places


def in_files(folder: Path) -> list[str]:
    """Search every file: Parquet by its values, what is compressed unpacked, all else by its bytes."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and re.search(PATTERN, _text_of(path))
    ]


def _text_of(path: Path) -> str:
    if path.suffix == ".parquet":
        return str(pq.ParquetFile(path).read().to_pydict())
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode(errors="replace")


def everything(kept: Kept) -> tuple[Counter[str], list[str]]:
    return in_tables(), in_files(kept.settings.home)


@pytest.fixture
def api(kept: Kept) -> TestClient:
    with TestClient(create_app(), "http://localhost") as client:
        until(lambda: client.get("/health").json()["store"]["ready"])
        yield client


def test_nothing_names_the_customer_any_more_and_the_others_are_untouched(
    kept: Kept, api: TestClient
) -> None:
    tables, files = everything(kept)
    where = {each.rpartition(".")[0] for each in tables}
    for name in ("online.users", "public.churn_scores", "public.action_list", "public.treatments",
                 "console.acts", "console.drop_outcomes", "raw.users", "public.users_snapshots"):  # fmt: skip
        assert name in where
    assert {Path(each).parts[0] for each in files} == {
        "deliveries", "lake", "training", "scores", "actions", "logs"
    }  # fmt: skip
    assert api.get(f"/features/{GONE}").status_code == 200
    before = {view.name: read_current(view, kept.months[0]).num_rows for view in VIEWS}

    counted = forget(GONE, reason="", actor="test", dry_run=True)
    assert everything(kept) == (tables, files)
    assert api.get(f"/features/{GONE}").status_code == 200
    forgotten = forget(GONE, reason=WHY, actor="test")
    assert forgotten.erased == counted.erased
    assert counted.erased["churn_scores"] == 1
    assert forgotten.left == Counter()

    assert everything(kept) == (Counter(), [])
    assert api.get(f"/features/{GONE}").status_code == 404
    assert api.get(f"/features/{STAYS}").json()["current"] is True
    for view in VIEWS:
        assert read_current(view, kept.months[0]).num_rows == before[view.name] - 1
    with connect() as connection:
        acts = connection.execute(
            "SELECT act, person, subject, detail FROM console.acts ORDER BY act_id"
        ).fetchall()
        assert acts == [
            ("customer seen", "ann", "[erased]", {}),
            ("customer seen", "ann", STAYS, {}),
            ("calls reported", "ann", "2024-01", {"breaches": ["[erased]", STAYS]}),
        ]
        [(report,)] = connection.execute("SELECT report FROM console.drop_outcomes").fetchall()
        assert report == f"users.csv, row 3: '[erased]' stands in several rows, as does '{STAYS}'"
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute("DELETE FROM console.acts")
    assert (kept.settings.home / "logs" / "code.log").read_text() == (
        f"user [erased] is odd, {STAYS} is not\n"
    )


def test_the_record_keeps_who_did_it_and_why_and_no_id(kept: Kept) -> None:
    delivered = {
        each.delivery_id: each for table in TABLES for each in accepted(kept.months[0], table)
    }
    forget(GONE, reason=WHY, actor="ann")
    with connect() as connection:
        [(hashed, actor, reason, erased)] = connection.execute(
            "SELECT id_hash, actor, reason, erased FROM decisions.erasures"
        ).fetchall()
        assert re.fullmatch("[0-9a-f]{64}", hashed)
        assert (actor, reason) == ("ann", WHY)
        assert erased["files of deliveries"] > 0
        kept_of = connection.execute(
            "SELECT delivery_id, sha256, fingerprint, rows FROM decisions.erased_files"
        ).fetchall()
    for delivery_id, sha256, content, rows in kept_of:
        if delivery := delivered.get(delivery_id):
            assert (sha256, content, rows) == (
                delivery.sha256, delivery.fingerprint, delivery.rows
            )  # fmt: skip
    assert delivered.keys() <= {row[0] for row in kept_of}


def test_what_is_derived_is_made_again_alike_without_the_customer(kept: Kept) -> None:
    january = kept.months[0]
    before = read_training_set(january)
    forget(GONE, reason=WHY, actor="test")
    for table in TABLES:
        for delivery in accepted(january, table):
            rows = read_accepted(delivery)
            assert sorted(rows["user_id"].to_pylist()) == sorted({*IDS.values()} - {GONE})
            assert delivery.fingerprint == fingerprint(rows)
            assert delivery.rows == rows.num_rows
            store = kept.settings.deliveries
            assert is_whole(store, delivery.stored_path, delivery.sha256)
    after = read_training_set(january)
    assert after.rows.num_rows == before.rows.num_rows - 1
    assert after.fingerprint != before.fingerprint  # a release was fitted on what this no longer is
    close(january)
    assert build_training_set(january).fingerprint == after.fingerprint
    assert in_tables() == Counter()
    assert replay(january, after.rows).none


def test_who_was_erased_stays_out_of_later_drops(kept: Kept) -> None:
    forget(GONE, reason=WHY, actor="test")
    again = deliver(kept.folder / "later" / "month_000", now=NOW)
    assert {each.state for each in again.files} == {"unchanged"}
    march = write_named_drop(kept.folder / "month_002")
    content = (march / "users.csv").read_bytes()
    (march / "users.csv").unlink()
    (march / "users.csv.gz").write_bytes(gzip.compress(content))
    outcome = deliver(march, now=NOW)
    assert {each.delivery.rows for each in outcome.files} == {2}
    close(kept.months[1].next)
    assert in_tables() == Counter()
    assert in_files(kept.settings.home) == []
    assert GONE in gzip.decompress((march / "users.csv.gz").read_bytes()).decode()  # not ours


def test_what_was_confirmed_of_a_month_stays_confirmed(kept: Kept) -> None:
    january = kept.months[0]
    users = accepted(january, PROFILE_TABLES[0])[-1]
    with connect() as connection:
        connection.execute(
            "INSERT INTO decisions.confirmations (month, file, rule, fingerprint, what, reason, actor)"
            " VALUES (%s, %s, 'users_stay', %s, 'all new', 'a migration', 'ann')",
            [january.first_day, users.file, users.fingerprint],
        )
    forget(GONE, reason=WHY, actor="test")
    content = accepted(january, PROFILE_TABLES[0])[-1].fingerprint
    with connect() as connection:
        rows = connection.execute(
            "SELECT reason, actor FROM decisions.confirmations WHERE fingerprint = %s", [content]
        ).fetchall()
    assert content != users.fingerprint
    assert rows == [("a migration", "ann")]


@pytest.mark.parametrize("at", ["churn.erasure.in_store.remove", "churn.erasure.in_files.erase"])
def test_an_erasure_that_was_interrupted_is_done_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(at, full)
        with pytest.raises(OSError, match="no space"):
            forget(GONE, reason=WHY, actor="test")
    assert in_tables() == Counter()
    assert in_files(kept.settings.home) != []
    forget(GONE, reason=WHY, actor="test")
    assert in_files(kept.settings.home) == []


@pytest.mark.parametrize(
    ("user_id", "reason", "what"),
    [
        ("", WHY, "no id of a customer"),
        ("NULL", WHY, "no id of a customer"),
        (GONE, " ", "a reason is needed"),
        (GONE, f"{GONE} asked for it", "the reason names the customer"),
    ],
)
def test_what_is_refused(settings: object, user_id: str, reason: str, what: str) -> None:
    with pytest.raises(ChurnError, match=what):
        forget(user_id, reason=reason, actor="test")
    with connect() as connection:
        assert connection.execute("SELECT * FROM decisions.erasures").fetchall() == []


def test_the_only_customer_of_a_file_is_not_erased(kept: Kept) -> None:
    forget(STAYS, reason=WHY, actor="test")
    forget(IDS["c"], reason=WHY, actor="test")
    tables, files = everything(kept)
    with pytest.raises(ChurnError, match="the only one of this file"):
        forget(GONE, reason=WHY, actor="test")
    assert everything(kept) == (tables, files)


def test_a_version_that_was_corrected_since_may_be_left_without_anybody(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("delivered")
    apart, whole = write_named_drop(folder / "a" / "month_000"), folder / "b" / "month_000"
    write_named_drop(whole)
    for path in apart.iterdir():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text(
            "".join([lines[0], *(each for each in lines if each.startswith(f"{GONE},"))])
        )
    deliver(apart, now=NOW)
    with pytest.raises(ChurnError, match="the only one of this file"):
        forget(GONE, reason="", actor="test", dry_run=True)
    with pytest.raises(ChurnError, match="the only one of this file"):
        forget(GONE, reason=WHY, actor="test")
    with connect() as connection:
        assert connection.execute("SELECT * FROM decisions.erasures").fetchall() == []
    deliver(whole, now=NOW + dt.timedelta(hours=1))
    forget(GONE, reason=WHY, actor="test")
    for table in TABLES:
        first, second = accepted(JANUARY, table)
        assert first.unloadable == "erased: nobody else was in it"
        assert (second.unloadable, second.rows) == (None, 2)
        assert in_force(JANUARY, table) == second
    assert in_files(settings.home) == []


def test_the_files_are_removed_before_another_drop_is_taken_in(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn.erasure import in_store

    remove, free = in_store.remove, []

    def looking(unneeded: list[Path]) -> None:
        with connect() as other:
            row = other.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended('churn.deliveries', 0))"
            ).fetchone()
        free.append(row)
        remove(unneeded)

    monkeypatch.setattr(in_store, "remove", looking)
    forget(GONE, reason=WHY, actor="test")
    assert free == [(False,)]


def test_a_file_whose_key_is_not_known_is_refused_and_kept(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn.erasure import in_store

    before = everything(kept)
    monkeypatch.setattr(in_store, "key_names", lambda _: None)
    for dry_run in (True, False):
        with pytest.raises(ChurnError, match="which column names customers is not known") as error:
            forget(GONE, reason=WHY, actor="test", dry_run=dry_run)
        assert "key: COLUMN" in error.value.remedy
    assert everything(kept) == before


def test_nobody_elses_rows_are_lost_with_the_customers(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn.erasure import in_store

    before = everything(kept)
    monkeypatch.setattr(in_store, "read_accepted", lambda each: read_accepted(each)[:1])
    with pytest.raises(ChurnError, match="2 rows would be lost, and a customer has one"):
        forget(GONE, reason=WHY, actor="test")
    assert everything(kept) == before


def test_a_log_keeps_its_line_ends_and_what_was_appended_meanwhile(
    tmp_path: Path,
) -> None:
    log = tmp_path / "code.log"
    log.write_bytes(f"user {GONE}\r\n".encode())
    lines = [f"again {GONE}\n"]

    class Appending:
        """The pattern, in whose first use the service writes another line."""

        def sub(self, new: str, text: str) -> str:
            with log.open("a") as file:
                file.write(lines.pop() if lines else "")
            return text.replace(GONE, new)

    replace_in_place(log, Appending())  # type: ignore[arg-type]
    assert log.read_bytes() == b"user [erased]\r\nagain [erased]\n"


def test_a_rank_that_reads_like_the_id_stays_in_the_list(settings: Settings) -> None:
    folder = settings.home / "actions"
    folder.mkdir(parents=True)
    (folder / "2024-01.csv").write_text("rank,user_id\n11,'12\n12,b\n")
    assert erase_of_files("12", dry_run=False) == {"actions": 1}
    assert (folder / "2024-01.csv").read_text() == "rank,user_id\n12,b\n"


def test_the_pipeline_stands_still_meanwhile(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    from churn.erasure import in_store

    erase = in_store.erase
    seen = []

    def looking(connection: psycopg.Connection, user_id: str, erasure: int | None) -> object:
        with connect() as other:
            row = other.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [BATCH_LOCK]
            ).fetchone()
        seen.append(row)
        return erase(connection, user_id, erasure)

    monkeypatch.setattr(in_store, "erase", looking)
    forget(GONE, reason=WHY, actor="test")
    assert seen == [(False,)]


def test_dagster_is_asked_first_and_its_records_lose_the_id(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of Dagster that matter here, in the test's own database."""
    from churn.erasure import in_postgres

    monkeypatch.setattr(in_postgres, "_has_dagster", lambda: True)
    monkeypatch.setattr(in_postgres, "connect", lambda *_: connect())
    event = '{"problems": "row 3: \'%s\' is odd"}'
    with connect() as connection:
        connection.execute("CREATE TABLE runs (status text, run_body text)")
        connection.execute("CREATE TABLE event_logs (event text)")
        connection.execute("INSERT INTO runs VALUES ('SUCCESS', '{}'), ('STARTED', '{}')")
        connection.execute(
            "INSERT INTO event_logs VALUES (%s), (%s)", [event % GONE, event % STAYS]
        )
    tables, files = everything(kept)
    with pytest.raises(ChurnError, match="runs are at work on months, or wait to be: 1"):
        forget(GONE, reason=WHY, actor="test")
    assert everything(kept) == (tables, files)
    with connect() as connection:
        connection.execute("DELETE FROM runs WHERE status = 'STARTED'")
    forgotten = forget(GONE, reason=WHY, actor="test")
    assert forgotten.erased["dagster event_logs"] == 1
    assert in_tables() == Counter()
    with connect() as connection:
        events = connection.execute("SELECT event FROM event_logs ORDER BY 1").fetchall()
    assert events == sorted([(event % "[erased]",), (event % STAYS,)])


def test_a_run_that_was_begun_meanwhile_is_named_and_the_erasure_can_be_done_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn.erasure import in_files, in_postgres

    monkeypatch.setattr(in_postgres, "_has_dagster", lambda: True)
    monkeypatch.setattr(in_postgres, "connect", lambda *_: connect())
    with connect() as connection:
        connection.execute("CREATE TABLE runs (status text, run_body text)")
        connection.execute("CREATE TABLE event_logs (event text)")
    erase = in_files.erase

    def erase_while_a_run_begins(user_id: str, *, dry_run: bool) -> Counter[str]:
        with connect() as connection:
            connection.execute("INSERT INTO runs VALUES ('STARTED', '{}')")
        return erase(user_id, dry_run=dry_run)

    with monkeypatch.context() as patch:
        patch.setattr(in_files, "erase", erase_while_a_run_begins)
        with pytest.raises(ChurnError, match="is erased, but while it was, runs are at work"):
            forget(GONE, reason=WHY, actor="test")
    with connect() as connection:
        connection.execute("UPDATE runs SET status = 'SUCCESS'")
    assert forget(GONE, reason=WHY, actor="test").left == Counter()
    assert in_tables() == Counter()


def test_numbers_that_read_like_the_id_stay_in_json_and_in_texts(settings: Settings) -> None:
    inner = '{"users": 4711, "user": "4711"}'
    detail = {"users": 4711, "share": 0.4711, "of": ["4711", 4711], "4711": "seen", "event": inner}
    with connect() as connection:
        record(connection, Act.EXPORT, "ann", **detail)
        connection.execute(
            "INSERT INTO console.drop_outcomes (name, state, report) VALUES ('x', 'refused', %s)",
            ["user 4711 has 0.4711 and 1,4711.5"],
        )
    forget("4711", reason=WHY, actor="test")
    with connect() as connection:
        [(after,)] = connection.execute("SELECT detail FROM console.acts").fetchall()
        [(report,)] = connection.execute("SELECT report FROM console.drop_outcomes").fetchall()
    assert after == {
        "users": 4711, "share": 0.4711, "of": ["[erased]", 4711], "[erased]": "seen",
        "event": '{"users": 4711, "user": "[erased]"}',
    }  # fmt: skip
    assert report.startswith("user [erased] has 0.4711")


def test_a_dry_run_waits_for_nobody(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=2s")
    with connect() as console:
        record(console, Act.CUSTOMER_SEEN, "ann", subject=STAYS)
        forget(GONE, reason="", actor="test", dry_run=True)


def test_the_console_and_an_erasure_never_wait_for_each_other_in_a_circle(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console writes a report, then the act, while an erasure waits for it."""
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=60s")
    report = (
        "INSERT INTO treatments (as_of, user_id, treated_at, channel)"
        " VALUES ('2024-02-01', %s, '2024-02-02', 'phone')"
    )
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
    with ThreadPoolExecutor(1) as pool:
        with connect() as console, connect() as other:
            console.execute(report, [GONE])
            erasing = pool.submit(forget, GONE, reason=WHY, actor="test")
            until(lambda: other.execute(waiting).fetchone() != (0,))
            console.execute("SET LOCAL lock_timeout = '5s'")
            record(console, Act.CALLS_REPORTED, "ann", subject="2024-01")
        assert erasing.result().erased["treatments"] == 1
    assert in_tables() == Counter()


def test_what_the_console_was_just_writing_is_erased_at_the_end(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from churn.erasure import in_files as files

    def late(*_: object, **__: object) -> Counter[str]:
        with connect() as connection:
            record(connection, Act.CUSTOMER_SEEN, "ann", subject=GONE)
        return Counter()

    monkeypatch.setattr(files, "erase", late)
    forget(GONE, reason=WHY, actor="test")
    assert in_tables() == Counter()


def test_a_drop_that_was_being_read_meanwhile_is_read_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    march = write_named_drop(kept.folder / "month_002")
    read = accept.read_drop

    def reading(*arguments: object) -> object:
        drop = read(*arguments)  # type: ignore[arg-type]
        forget(GONE, reason=WHY, actor="test")
        return drop

    with monkeypatch.context() as patch:
        patch.setattr(accept, "read_drop", reading)
        with pytest.raises(Refusal, match="somebody was erased while the drop was being read"):
            deliver(march, now=NOW)
    assert everything(kept) == (Counter(), [])
    deliver(march, now=NOW)
    assert everything(kept) == (Counter(), [])
