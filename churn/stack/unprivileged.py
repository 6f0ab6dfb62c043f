"""As whom Postgres runs: the shell's user, or where that is root, somebody who is not."""

import os
import stat
import subprocess
from pathlib import Path

from churn.errors import ChurnError

_NOBODY = 65534
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def _as_user(uid: int, *capabilities: str) -> tuple[str, ...]:
    caps = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    user = (f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs")
    if not capabilities:
        return ("setpriv", *user)
    return ("setpriv", *user, *(f"--{kind}-caps={caps}" for kind in ("inh", "ambient")))


def ways(owner: int) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return root's ways to run a server: who owns its data folder, and the command's prefix.

    Another user first. Where that user cannot reach a folder (a home with 0700), the same user who
    may look into folders; in containers that withhold this right, the one right that they give. A
    user namespace comes last: seen from outside, its processes still carry root's number.

    Args:
        owner: the uid that owns the data folder already; 0 where nobody does.
    """
    uid = owner or _NOBODY
    return (
        (uid, _as_user(uid)),
        (uid, _as_user(uid, "dac_read_search")),
        (uid, _as_user(uid, "dac_override")),
        (0, _NAMESPACE),
    )


def become_unprivileged(data: Path, program: Path) -> tuple[str, ...]:
    """Make `data` a private folder of the server's user; return the prefix of commands run as them.

    The two folders above it (`postgres` and the state folder), where they are root's alone, let the group of
    that user walk through, and see nothing. No permission of any other folder is changed.
    """
    data.mkdir(parents=True, exist_ok=True)
    fresh = not any(data.iterdir())
    if os.geteuid() != 0:
        data.chmod(0o700)
        return ()
    owner = data.stat().st_uid
    for uid, prefix in ways(owner):
        if not fresh and uid != owner:
            continue
        os.chown(data, uid, uid)
        data.chmod(0o700)
        _let_through((data.parent, data.parent.parent), uid)
        probe = 'test -w "$1" && "$2" --version'
        command = [*prefix, "sh", "-c", probe, "sh", str(data), str(program)]
        try:
            done = subprocess.run(command, capture_output=True, cwd="/", check=False)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return prefix
    raise ChurnError(
        "Postgres refuses to run as root, and no other user can reach its program and its data",
        where=str(data),
        remedy="run as an ordinary user, or put project and CHURN_HOME where others may look, "
        "or set POSTGRES_HOST to a server of your own",
    )


def _let_through(folders: tuple[Path, ...], group: int) -> None:
    for folder in folders:
        status = folder.stat()
        mode = stat.S_IMODE(status.st_mode)
        if group and status.st_uid == 0 and not mode & 0o007:
            os.chown(folder, -1, group)
            folder.chmod(mode & 0o700 | 0o010)
