"""Writing a file so that nobody ever reads half of it.

The new file is written beside its place, under a name of its own, and renamed over the old one when it is
whole. Whoever reads meanwhile, and whoever comes after a process that was killed, finds the old file or the
new one.

That is not enough where the machine itself stops: a file system may carry out the rename before it has
written the content. A durable write therefore waits for the disk (fsync): for the content before the rename,
and for the folder's entry after it. Delivered files and those of the lake are written so, since Postgres
goes on to say that they are there, and nothing would write them again by itself. Scores, reports, training
sets and the records of a running stack do without: each is made again where it is missing or broken, and
waiting takes milliseconds, or seconds on a busy disk.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(
    path: Path, *, durable: bool = False, mode: int | None = None, unfinished: Path | None = None
) -> Iterator[Path]:
    """Give the path of a new file to write, and put it in the place of `path` when the block ends.

    Where the block raises, the new file is removed and the old one stays.

    Args:
        path: where the file belongs; its folder is made where it is missing.
        durable: wait until the disk has it, so that it outlasts a power cut.
        mode: the rights of the new file from the first byte on; the umask's where not given.
        unfinished: the path to write to, in the same folder. It may be a fixed one where only one process
            writes at a time: then the next overwrites what a killed one left. By default it is this
            process's own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = unfinished or path.with_name(f".{path.name}.{os.getpid()}.tmp")
    new.unlink(missing_ok=True)
    try:
        if mode is not None:
            new.touch(mode=mode)
        yield new
        if durable:
            _sync(new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if durable:
        _sync(path.parent)


def write_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a text as UTF-8: whole, or not at all. See `replacing`."""
    with replacing(path, mode=mode) as new:
        new.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
