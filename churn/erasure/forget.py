"""Forgetting a customer: in what order things are deleted, and what is written down of it.

The record, Postgres and what is said of the deliveries' files are one transaction, and no drop is taken in
before it has ended; then comes what is derived from them. Interrupted, it is done again from its beginning.
docs/security.md says what is deleted, what is kept, and why.
"""

from collections import Counter
from dataclasses import dataclass

import psycopg
from psycopg.types.json import Jsonb

from churn.contract.user_ids import fault_of
from churn.database import connect, lock, lock_until_closed
from churn.database.online_tables import LOCK as PUBLICATION_LOCK
from churn.deliveries.erased import hashed_id, salt_of
from churn.erasure import in_files, in_postgres, in_store
from churn.errors import ChurnError
from churn.online.redis_copy import erase_of_copy
from churn.schedule.facts import BATCH_LOCK
from churn.settings import get_settings


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a customer came to.

    Args:
        erased: how many rows, texts or files were deleted or changed, by place.
        left: how many places still name the id that nothing here may change, by place.
    """

    erased: Counter[str]
    left: Counter[str]


def forget(user_id: str, *, reason: str, actor: str, dry_run: bool = False) -> Forgotten:
    """Erase a customer, and keep them out of later drops.

    Args:
        user_id: whom.
        reason: why; it is kept and may not name the customer.
        actor: who does it.
        dry_run: only count what would be erased.

    Raises:
        ChurnError: the id is none, no reason is given or it names the customer, months are just being
            worked on, or a file would be left without any row.
    """
    _require(user_id, reason, dry_run)
    with connect() as guard:
        # Whatever reads a month now would write the customer again afterwards.
        lock(guard, BATCH_LOCK)
        in_postgres.require_no_runs()
        with connect() as connection:
            lock_until_closed(connection, PUBLICATION_LOCK)
            # Until files are removed below, too: a drop may have become theirs.
            lock(guard, "churn.deliveries")
            erasure = None if dry_run else _record(connection, user_id, reason, actor)
            erased, unneeded = in_store.erase(connection, user_id, erasure)
            erased += in_postgres.erase(connection, user_id, dry_run=dry_run)
            if dry_run:
                connection.rollback()
        in_store.remove(unneeded)
        if get_settings().online == "redis":
            erased["the copy in Redis"] += erase_of_copy(user_id, dry_run=dry_run)
        erased += in_files.erase(user_id, dry_run=dry_run)
        erased += in_postgres.erase_of_dagster(user_id, dry_run=dry_run)
        if not dry_run:
            with connect() as connection:
                # What the console was just writing when its tables were searched first.
                erased += in_postgres.erase_of_console(connection, user_id)
        left = Counter[str]() if dry_run else in_postgres.left(user_id) + in_files.left(user_id)
        if erasure is not None:
            guard.execute(
                "UPDATE decisions.erasures SET erased = %s WHERE erasure_id = %s",
                [Jsonb(dict(erased)), erasure],
            )
        began = _begun_meanwhile() if not dry_run else None
    if began is not None:
        raise ChurnError(
            f"what was there of the customer is erased, but while it was, {began.what}",
            where="what such a run had read before may be written again",
            remedy="do it again when they have ended; the Dagster UI shows them",
        )
    return Forgotten(erased, left)


def _begun_meanwhile() -> ChurnError | None:
    """Return what is wrong where somebody started a run, as in the Dagster UI, while files were searched."""
    try:
        in_postgres.require_no_runs()
    except ChurnError as error:
        return error
    return None


def _require(user_id: str, reason: str, dry_run: bool) -> None:
    if not user_id or fault_of(user_id):
        raise ChurnError("this is no id of a customer", remedy="give it as the drops have it")
    if not dry_run and not reason.strip():
        raise ChurnError("a reason is needed", remedy='say why: --reason "..."')
    if user_id in reason:
        raise ChurnError(
            "the reason names the customer", remedy="it is kept: say why without saying who"
        )


def _record(connection: psycopg.Connection, user_id: str, reason: str, actor: str) -> int:
    row = connection.execute(
        "INSERT INTO decisions.erasures (id_hash, actor, reason) VALUES (%s, %s, %s)"
        " RETURNING erasure_id",
        [hashed_id(salt_of(connection), user_id), actor, reason.strip()],
    ).fetchone()
    assert row is not None  # noqa: S101  (an insert always returns its row)
    return int(row[0])
