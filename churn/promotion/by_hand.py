"""What a person may decide: to promote a version, or return to the release before. The ledger keeps why."""

import psycopg

from churn.contract.in_force import REGISTERED_MODEL
from churn.database import connect, lock
from churn.errors import ChurnError
from churn.promotion import ledger
from churn.promotion.decide import follow_ledger
from churn.promotion.entry import Draft, Entry, effective, releases_until
from churn.promotion.ledger import Release, keep_release
from churn.promotion.registry import ReleaseRegistry, release_of, version_of


def promote(version: str, *, reason: str, actor: str, instead_of: str | None = None) -> Entry:
    """Put a registered version in force, whatever the gate says of it.

    Args:
        version: its number in MLflow.
        reason: why.
        actor: who decided it.
        instead_of: the release that must be in force so far, empty for none; any may be by default.

    Raises:
        ChurnError: no reason is given, the version does not exist or was altered, it is in force already,
            another release than `instead_of` is, or the contract in force lacks one of its features.
    """
    _require(reason)
    chosen = release_of(version)
    with connect() as connection:
        lock(connection, ledger.DECISIONS_LOCK)
        current = ledger.release_in_force(connection=connection)
        _require_unchanged(current, instead_of)
        if current and current.release_id == chosen.release_id:
            # An attempt before this one may have been cut off between the ledger and what is served.
            follow_ledger()
            raise ChurnError(
                f"{chosen.short_id} is in force already", where=f"{REGISTERED_MODEL} {version}"
            )
        # Before anything is written, this names a feature that the contract in force lacks.
        ReleaseRegistry().service(chosen)
        keep_release(connection, chosen)
        entry = ledger.append(connection, _draft(connection, current, chosen, reason, actor))
    follow_ledger()
    return entry


def rollback(*, reason: str, actor: str, instead_of: str | None = None) -> Entry:
    """Restore the release before the one in force, whole: its model, threshold and feature service.

    Args:
        reason: why.
        actor: who decided it.
        instead_of: the release that must be in force so far; any may be by default.

    Raises:
        ChurnError: no reason is given, another release than `instead_of` is in force, the release in force
            was not served yet, there is no release before, or it can no longer be served. Nothing is
            written.
    """
    _require(reason)
    with connect() as connection:
        lock(connection, ledger.DECISIONS_LOCK)
        stack = releases_until(ledger.entries(connection))
        if len(stack) < 2:
            raise ChurnError(
                "there is no release before the one in force" if stack else "no release yet",
                where="churn rollback",
                remedy="see `churn ledger`; `churn promote VERSION` chooses any registered version",
            )
        kept = ledger.releases(connection)
        before, current = kept[stack[-2]], kept[stack[-1]]
        _require_unchanged(current, instead_of)
        _require_served(current)
        _require_servable(before)
        entry = ledger.append(
            connection, _draft(connection, current, before, reason, actor, is_rollback=True)
        )
    follow_ledger()
    return entry


def _require_unchanged(current: Release | None, instead_of: str | None) -> None:
    there = current.release_id if current else ""
    if instead_of is not None and there != instead_of:
        raise ChurnError(
            f"{there[:12] or 'no release'} is in force by now, and not what was seen when this was decided",
            remedy="look again, then decide anew",
        )


def _require_served(current: Release) -> None:
    """Refuse to leave a release that was not served so far, and have it served.

    A rollback that was cut off between the ledger and what is served looks as if it had failed. Whoever then
    asks for it again means the release that is in force by now, not the one before it.
    """
    try:
        if ReleaseRegistry().is_served(current):
            return
    except ChurnError:
        # Its version was deleted: it cannot be served any more, and to leave it is the way out.
        return
    follow_ledger()
    raise ChurnError(
        f"{current.short_id} was in force by the ledger, and another version was served",
        where="the last decision was cut off before it was carried out",
        remedy=f"{current.short_id} is served now: look at `churn ledger`, and decide anew",
    )


def _require_servable(release: Release) -> None:
    """Fetch the files of a release as the API will, and look its features up in the contract in force.

    An entry of the ledger cannot be taken back, so this comes first.
    """
    version = str(version_of(release).version)
    if release_of(version).release_id != release.release_id:
        raise ChurnError(
            f"it is not release {release.short_id} any more: its tags or parameters were changed",
            where=f"{REGISTERED_MODEL} version {version}",
            remedy=f"`churn train --month {release.month}` makes it again; `churn promote VERSION` puts"
            " another in force",
        )
    ReleaseRegistry().service(release)


def operator() -> str:
    """Return the system's user name of the person at the keyboard."""
    import psutil

    return psutil.Process().username()


def _draft(
    connection: psycopg.Connection,
    current: Release | None,
    chosen: Release,
    reason: str,
    actor: str,
    *,
    is_rollback: bool = False,
) -> Draft:
    """Describe what was done, in force from the newest instant that has been decided on.

    Decisions for later instants find this release in force. A version cannot be in force before the labels
    that it was fitted on were known.
    """
    decided = [entry.decided_for for entry in effective(ledger.entries(connection))]
    return Draft(
        kind="rollback" if is_rollback else "promotion by hand",
        outcome="restore" if is_rollback else "promote",
        decided_for=max([*decided, chosen.month.matures_at]),
        month=None,
        champion=current.release_id if current else None,
        challenger=chosen.release_id,
        release_id=chosen.release_id,
        reasons=(reason.strip(),),
        actor=actor,
        evidence={"release": chosen.as_json()},
    )


def _require(reason: str) -> None:
    if not reason.strip():
        raise ChurnError("a reason is needed", remedy='say why: --reason "..."')
