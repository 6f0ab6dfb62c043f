"""What may be sent as a drop, and what is refused before a byte of it stands where the pipeline looks."""

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from churn.deliveries.drops_folder import take_in
from churn.errors import ChurnError
from churn.settings import Settings, get_settings
from console import uploads
from console.uploads import MAX_FILES, SentFile, keep_drop
from tests.kit.small_drop import FILES, NOW


def sent(**contents: bytes) -> list[SentFile]:
    return [SentFile(name, io.BytesIO(content)) for name, content in contents.items()]


def zipped(fill: Callable[[zipfile.ZipFile], None]) -> list[SentFile]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    content.seek(0)
    return [SentFile("drop.ZIP", content)]


def of_drop(folder: str = "") -> list[SentFile]:
    def fill(archive: zipfile.ZipFile) -> None:
        for name, text in FILES.items():
            archive.writestr(f"{folder}{name}", text)

    return zipped(fill)


def holding(name: str, content: bytes = b"user_id\n", mode: int = 0o100644) -> list[SentFile]:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return zipped(lambda archive: archive.writestr(entry, content))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of an empty state folder, without a database."""
    monkeypatch.setenv("CHURN_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.mark.parametrize("folder", [None, "", "month_000/"])
def test_a_drop_is_put_where_the_pipeline_takes_it_in(
    settings: Settings, folder: str | None
) -> None:
    chosen = of_drop(folder) if folder is not None else [
        SentFile(name, io.BytesIO(text.encode())) for name, text in FILES.items()
    ]  # fmt: skip
    assert sorted(keep_drop(chosen, "month_000", settings)) == sorted(FILES)
    drops = settings.drops_folder
    assert [each.name for each in drops.iterdir()] == ["month_000"]
    for name, text in FILES.items():
        assert (drops / "month_000" / name).read_text() == text
    first = take_in(drops, {}, now=NOW, settings=settings)
    second = take_in(drops, first.cursor, now=NOW, settings=settings)
    assert first.accepted + second.accepted == ["month_000"]


def test_a_folder_is_replaced_only_if_that_is_meant(home: Settings) -> None:
    keep_drop(sent(**{"users.csv": b"first"}), "month_000", home)
    with pytest.raises(ChurnError, match="there is a folder month_000 already"):
        keep_drop(sent(**{"users.csv": b"second"}), "month_000", home)
    place = home.drops_folder / "month_000" / "users.csv"
    assert place.read_bytes() == b"first"
    keep_drop(sent(**{"users.csv": b"second"}), "month_000", home, may_replace=True)
    assert place.read_bytes() == b"second"
    assert [each.name for each in home.drops_folder.iterdir()] == ["month_000"]


@pytest.mark.parametrize(
    "name",
    ["", "..", "../month_000", "month_000/..", "/month_000", ".month_000", "month_0", "drops",
     "month_000\0", "month_000\n", "month_000 ", "Month_000", "month\\000"],
)  # fmt: skip
def test_a_name_that_is_no_drops_is_refused(home: Settings, name: str) -> None:
    with pytest.raises(ChurnError, match="is no name of a drop's folder"):
        keep_drop(sent(**{"users.csv": b"x"}), name, home)
    assert not home.drops_folder.exists()


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ([], "there is no file"),
        (sent(**{"../users.csv": b"x"}), "is no file of a drop"),
        (sent(**{"/etc/users.csv": b"x"}), "is no file of a drop"),
        (sent(**{".users.csv": b"x"}), "is no file of a drop"),
        (sent(**{"users.exe": b"x"}), "is no file of a drop"),
        (sent(**{"users.csv": b"x", "USERS.csv": b"y"}), "two files have one name"),
        (sent(**{"users.csv.gz": b"not gzip"}), "cannot be unpacked"),
        (sent(**{f"users_{n}.csv": b"x" for n in range(MAX_FILES + 1)}), "there are 65 files"),
        (sent(**{"drop.zip": b"not a zip"}), "the zip cannot be unpacked"),
        (zipped(lambda archive: None), "there is no file"),
        (holding("../users.csv"), "is no file of a drop"),
        (holding("../../month_001/users.csv"), "is no file of a drop"),
        (holding("/users.csv"), "is no file of a drop"),
        (holding("a/b/users.csv"), "is no file of a drop"),
        (holding("a\\users.csv"), "is no file of a drop"),
        (holding("users.csv", b"/etc/passwd", mode=0o120777), "is no file of a drop"),
        (holding("month_000/other.zip"), "is no file of a drop"),
    ],
)
def test_what_is_no_drop_leaves_nothing_behind(
    home: Settings, files: list[SentFile], what: str
) -> None:
    for each in files:
        each.content.seek(0)
    with pytest.raises(ChurnError, match=what):
        keep_drop(files, "month_000", home)
    assert list(home.drops_folder.iterdir()) == []
    outside = {each.name for each in home.home.rglob("*.csv*")}
    assert outside == set()


def test_what_unpacks_to_more_than_there_is_room_for_is_refused(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", 1_000_000)
    bomb = bytes(2_000_000)
    for files in (
        holding("users.csv", bomb),
        sent(**{"users.csv.gz": gzip.compress(bomb)}),
        holding("users.csv.gz", gzip.compress(bomb)),
    ):
        assert len(files[0].content.read()) < 10_000
        files[0].content.seek(0)
        with pytest.raises(ChurnError, match="unpacked, the files are longer than"):
            keep_drop(files, "month_000", home)
        assert list(home.drops_folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(home: Settings) -> None:
    (home.home / "drops").write_text("a file where the folder should be")
    with pytest.raises(ChurnError, match="the folder of drops cannot be written"):
        keep_drop(sent(**{"users.csv": b"x"}), "month_000", home)


def test_a_drop_in_the_making_is_passed_over(settings: Settings) -> None:
    folder = settings.drops_folder
    folder.mkdir()
    with uploads._unfinished(folder) as new:
        (new / "users.csv").write_text("half of it")
        look = take_in(folder, {}, now=NOW, settings=settings)
        assert (look.accepted, look.refused, look.strays) == ([], {}, [])
    assert list(folder.iterdir()) == []
