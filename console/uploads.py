"""A drop that somebody sends: its files are put into the watched folder, where the pipeline takes them in.

They are written under a name that the watcher passes over and renamed when all of them are there. Nothing is
read here beyond what a bound needs: what is in the files is for the pipeline to judge.
"""

import contextlib
import gzip
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from churn.contract.in_force import CONTRACT
from churn.deliveries.drop_files import expected_files, month_of
from churn.deliveries.patterns import shown
from churn.errors import ChurnError
from churn.settings import Settings

MAX_UPLOAD_BYTES = 128 * 1024 * 1024
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
MAX_FILES = 64
_BLOCK = 1 << 20
_FILE_NAME = re.compile(r"[\w][\w .()+-]{0,150}\.(csv|csv\.gz|parquet)", re.IGNORECASE)
_FOLDER_NAME = re.compile(r"[\w][\w .+-]{0,100}")
_UNFINISHED = ".upload-"  # names that begin with a dot are passed over
_IS_A_LINK = 0o120000


@dataclass(frozen=True)
class SentFile:
    """A file of a form: the name that the browser gave it, and its content."""

    name: str
    content: BinaryIO


@dataclass
class _Room:
    """How many bytes may still be written."""

    left: int = field(default_factory=lambda: MAX_UNPACKED_BYTES)

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ChurnError(
                f"unpacked, the files are longer than {MAX_UNPACKED_BYTES:,} bytes",
                remedy="put the folder where CHURN_DROPS points to instead",
            )


def keep_drop(
    sent: Sequence[SentFile], name: str, settings: Settings, *, may_replace: bool = False
) -> list[str]:
    """Put a drop into the watched folder, whole or not at all; return the names of its files.

    Args:
        sent: its files, or one zip of them.
        name: of its folder, which gives the month.
        settings: where the watched folder is.
        may_replace: take the place of a folder of this name.

    Raises:
        ChurnError: the name is none of a drop, the files cannot be taken, or the folder cannot be written.
    """
    _require_name(name, settings)
    folder = settings.drops_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _unfinished(folder) as new:
            names = _write(sent, new)
            _put(new, folder / name, may_replace)
    except OSError as error:
        raise ChurnError(
            f"the folder of drops cannot be written: {error.strerror}",
            where=str(folder),
            remedy="give the console's user room and rights there, or deliver by `churn deliver`",
        ) from error
    return names


def _require_name(name: str, settings: Settings) -> None:
    is_plain = _FOLDER_NAME.fullmatch(name) is not None
    if not is_plain or month_of(Path(name), settings.first_month, CONTRACT) is None:
        raise ChurnError(
            f"{name[:100]!r} is no name of a drop's folder",
            remedy=f"name it as {shown(CONTRACT.drop_folder)}: the name gives the month",
        )


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Give a folder that the watcher passes over; what is left of it at the end is removed."""
    new = folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
    new.mkdir()
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _put(new: Path, place: Path, may_replace: bool) -> None:
    if place.exists() and not may_replace:
        raise ChurnError(
            f"there is a folder {place.name} already",
            remedy="tick that it is to be replaced, if this is a correction of that month",
        )
    if place.exists():
        old = place.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(place)


def _write(sent: Sequence[SentFile], folder: Path) -> list[str]:
    room = _Room()
    if len(sent) == 1 and sent[0].name.lower().endswith(".zip"):
        names = _unpack(sent[0].content, folder, room)
    else:
        names = [_checked(each.name) for each in sent]
        _require_distinct(names)
        for name, each in zip(names, sent, strict=True):
            _copy(each.content, folder / name, room)
    if not names:
        raise ChurnError("there is no file", remedy=f"choose those of the drop: {expected_files()}")
    for name in names:
        if name.lower().endswith(".gz"):
            _require_bounded(folder / name, room)
    return names


def _unpack(content: BinaryIO, folder: Path, room: _Room) -> list[str]:
    try:
        with zipfile.ZipFile(content) as archive:
            entries = [each for each in archive.infolist() if not each.is_dir()]
            folders = {each.filename.rpartition("/")[0] for each in entries}
            if len(folders) > 1:
                raise ChurnError(
                    "the files in the zip lie in several folders", remedy="send one drop at a time"
                )
            names = [_checked_entry(each) for each in entries]
            _require_distinct(names)
            for name, entry in zip(names, entries, strict=True):
                with archive.open(entry) as file:
                    _copy(file, folder / name, room)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # The last two: a way of packing that Python does not know, and a password.
        raise ChurnError(
            "the zip cannot be unpacked", remedy="pack it again, without a password"
        ) from error
    return names


def _checked_entry(entry: zipfile.ZipInfo) -> str:
    *folders, name = entry.filename.split("/")
    mode = entry.external_attr >> 16
    leads_away = len(folders) > 1 or any(each in ("", ".", "..") for each in folders)
    if leads_away or mode & 0o170000 == _IS_A_LINK or "\\" in entry.filename:
        raise _not_taken(entry.filename)
    return _checked(name)


def _checked(name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise _not_taken(name)
    return name


def _not_taken(name: str) -> ChurnError:
    return ChurnError(
        f"{name[:100]!r} is no file of a drop",
        remedy="send files that end in .csv, .csv.gz or .parquet, of one folder and without others in it",
    )


def _require_distinct(names: Sequence[str]) -> None:
    if len(names) > MAX_FILES:
        raise ChurnError(f"there are {len(names)} files", remedy=f"a drop has {MAX_FILES} at most")
    if len({name.lower() for name in names}) < len(names):
        raise ChurnError("two files have one name", remedy="send each file once")


def _copy(content: IO[bytes], path: Path, room: _Room) -> None:
    with path.open("xb") as file:
        while block := content.read(_BLOCK):
            room.take(len(block))
            file.write(block)


def _require_bounded(path: Path, room: _Room) -> None:
    """Refuse a compressed file that would unpack to more than there is room for."""
    try:
        with gzip.open(path) as file:
            while block := file.read(_BLOCK):
                room.take(len(block))
    except (OSError, EOFError, zlib.error) as error:
        raise ChurnError(
            f"{path.name} cannot be unpacked", remedy="compress it again, by gzip"
        ) from error
