"""A customer taken out of what is derived from the deliveries and kept as files in the state folder."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.contract.structure import CANONICAL, KEY
from churn.deliveries.erased import remove_copies, without_rows
from churn.erasure.in_postgres import ERASED, SEARCHED_FROM, word
from churn.files import replacing
from churn.settings import get_settings

# What programs wrote for people to read; whatever else names an id is told, and left.
_TEXT_FOLDERS = ("reports", "logs", "dagster")
# Postgres keeps its own, and the folder of drops is whoever's delivers them.
_NOT_SEARCHED = frozenset({"postgres", "demo", "simulation"})


def erase(user_id: str, *, dry_run: bool) -> Counter[str]:
    """Write lake, training sets, scores and exported lists without the customer, and texts without the id."""
    home, counts = get_settings().home, Counter[str]()
    if not dry_run:
        remove_copies(home)
    for folder in ("lake", "training", "scores"):
        for path in sorted((home / folder).rglob("*.parquet")):
            counts[folder] += _erase_rows(path, user_id, dry_run)
    for path in sorted((home / "actions").glob("*.csv")):
        # An id that a spreadsheet would run has an apostrophe in front.
        content, removed = without_rows(
            path.read_bytes(), CANONICAL, (KEY,), {user_id, f"'{user_id}"}.__contains__
        )
        counts["actions"] += removed
        if removed and not dry_run:
            with replacing(path) as new:
                new.write_bytes(content)
    for folder, path in _texts(user_id):
        counts[folder] += 1
        if not dry_run:
            replace_in_place(path, re.compile(word(user_id)))
    return +counts


def left(user_id: str) -> Counter[str]:
    """Return the files of the state folder, and of the folder of drops, that still name the customer."""
    settings = get_settings()
    counts: Counter[str] = Counter()
    if len(user_id) < SEARCHED_FROM:
        return counts
    pattern = re.compile(word(user_id).encode())
    for folder in {settings.home, settings.drops_folder.resolve()}:
        for path in _files(folder):
            if user_id.encode() in (content := _content(path)) and pattern.search(content):
                counts[str(path)] += 1
    return counts


def _erase_rows(path: Path, user_id: str, dry_run: bool) -> int:
    rows = pq.ParquetFile(path).read()
    if "user_id" not in rows.column_names:
        return 0
    is_theirs = pc.equal(rows["user_id"].cast(pa.string()), user_id)
    count: int = pc.sum(is_theirs).as_py() or 0
    if count and not dry_run:
        repeating = [name for name in rows.column_names if name != "user_id"]
        # The schema's own marks stay: a lake file says which version is its newest.
        kept = rows.filter(pc.invert(is_theirs))
        with replacing(path, durable=True) as new:
            pq.write_table(kept, new, compression="zstd", use_dictionary=repeating)
    return count


def replace_in_place(path: Path, pattern: re.Pattern[str]) -> None:
    """Replace an id in a text that a service may have open as its log, and go on appending to.

    Its line ends stay, and lines that were appended meanwhile are written again as well.
    """
    with path.open("r+b") as file:
        content = file.read()
        while True:
            new = pattern.sub(ERASED, content.decode(errors="surrogateescape"))
            more = file.read()
            if not more:
                break
            content += more
        file.seek(0)
        file.write(new.encode(errors="surrogateescape"))
        file.truncate()


def _texts(user_id: str) -> Iterator[tuple[str, Path]]:
    """Yield the texts that name the customer, each with what its folder is called."""
    settings = get_settings()
    folders = {name: settings.home / name for name in _TEXT_FOLDERS}
    if settings.dagster_home is not None:
        # On a server, what the steps of runs printed.
        folders["dagster"] = settings.dagster_home / "storage"
    if len(user_id) < SEARCHED_FROM:
        return
    for name, folder in folders.items():
        for path in _files(folder):
            content = _content(path)
            if user_id.encode() not in content:
                continue
            try:
                text = content.decode()
            except UnicodeDecodeError:
                continue
            if re.search(word(user_id), text):
                yield name, path


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] in _NOT_SEARCHED or path.is_symlink():
            continue
        if path.is_file():
            yield path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
