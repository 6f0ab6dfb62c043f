import os
import stat
from pathlib import Path

import pytest

from churn.files import replacing, write_text


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path):
    path = tmp_path / "folder" / "scores.csv"
    write_text(path, "old")
    with replacing(path) as new:
        new.write_text("new, but not yet whole")
        assert path.read_text() == "old"
    assert path.read_text() == "new, but not yet whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "scores.csv"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as new:
            new.write_text("half")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path):
    path, left = tmp_path / "users.csv", tmp_path / "users.unfinished"
    left.write_text("longer than what comes after it")
    left.chmod(0o444)
    with replacing(path, unfinished=left) as new:
        assert not new.exists()
        new.write_text("short")
    assert path.read_text() == "short"
    assert not left.exists()


def test_a_durable_write_waits_for_the_content_and_then_for_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "rows.parquet"
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((is_folder, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr("churn.files.os.fsync", seen)
    with replacing(path, durable=True) as new:
        new.write_text("rows")
    assert synced == [(False, False), (True, True)]
    with replacing(path) as new:
        new.write_text("other rows")
    assert len(synced) == 2


def test_a_private_file_is_private_before_it_holds_anything(tmp_path: Path):
    path = tmp_path / "stack.env"
    with replacing(path, mode=0o600) as new:
        assert stat.S_IMODE(new.stat().st_mode) == 0o600
        new.write_text("secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
