"""Which code made a database ready, kept as its comment: the same code need not make it again."""

import contextlib
import hashlib
from importlib import metadata, util
from pathlib import Path

import psycopg
from psycopg import sql

from churn.settings import contract_in_force, get_settings

_LIBRARIES = {
    "streamflow": ("feast",),
    "dagster": ("dagster", "dagster-postgres"),
    "mlflow": ("mlflow",),
}
_OURS = ("churn", "feature_repo")  # whose files say what is in our own database


def maker(service: str) -> str:
    """Return what stands for all that makes a service's database: libraries, our files, the contract."""
    digest = hashlib.sha256()
    for library in _LIBRARIES[service]:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    if service == "streamflow":
        digest.update(f"{get_settings().lake}\n".encode())  # Feast's registry has its path
        digest.update(f"{contract_in_force().fingerprint}\n".encode())
        for file in _files():
            digest.update(file.name.encode() + file.read_bytes())
    return f"made ready by {digest.hexdigest()}"


def made_by(connection: psycopg.Connection, database: str) -> str | None:
    """Return who made a database ready; None where nobody did."""
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        [database],
    ).fetchone()
    return row[0] if row else None


def sign(connection: psycopg.Connection, database: str, text: str) -> None:
    """Write down who made a database ready; it is gone with the database.

    Where the database is another role's, nothing is written: it is made ready each time.
    """
    comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        connection.execute(comment.format(sql.Identifier(database), sql.Literal(text)))


def _files() -> list[Path]:
    found: list[Path] = []
    for package in _OURS:
        spec = util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            found += sorted(Path(folder).rglob("*.py"))
    return found
