"""Group `raw`: the tables of a drop in Postgres, as delivered.

How files are validated and accepted is `churn.deliveries`; what can be in a month, `churn.plausibility`.
"""

import functools

import dagster as dg

from churn.contract.in_force import TABLES, USERS
from churn.contract.structure import Table
from churn.deliveries import Delivery, Oddity, RefusedDrop, accepted, in_force, read_accepted
from churn.deliveries.known_at import minute
from churn.deliveries.oddities import oddities, oddities_beside
from churn.deliveries.problems import markdown, oddities_markdown, summary
from churn.deliveries.rules import Users
from churn.fingerprint import ByUser
from churn.plausibility.judge import Judgement, judge
from churn.warehouse.raw import RawMonth, UnknownUsers, load_raw
from churn_assets.monthly import (
    Check,
    CheckFailed,
    MonthResult,
    MonthStep,
    Outcome,
    Work,
    monthly_asset,
    null_counts,
    preview,
    table_schema,
)

VALID = Check(
    "valid",
    "The stored file is the accepted one and passes every rule: columns, types, keys, ranges.",
)
AGREES = Check("agrees_with_users", f"Every user of the file is in the month's {USERS.shown_file}.")
PLAUSIBLE = Check(
    "plausible",
    "Nothing is odd about the file, by itself or compared with other months: constants, blanks, "
    "contradictions, an older version that cannot be loaded.",
    blocking=False,
)
POSSIBLE = Check(
    "possible",
    "Compared with other months, the file can be what it claims to be: it has no other month's content or "
    "rows, users stay, tenure grows, and labels cover the month and agree with the next one. What cannot be "
    "blocks until a person confirms it (`churn confirm`).",
)


def raw_assets() -> list[dg.AssetsDefinition]:
    """Return one asset per file of a drop."""
    return [
        monthly_asset(
            table.name,
            _raw(table),
            group="raw",
            kinds={"csv", "postgres"},
            deps=[] if table is USERS else [USERS.name],
            checks=[VALID, AGREES, PLAUSIBLE, POSSIBLE],
            metadata=table_schema(table),
            description=_description(table),
        )
        for table in TABLES
    ]


def _description(table: Table) -> str:
    return (
        f"The rows of each accepted `{table.shown_file}` of the month, typed, in `raw.{table.name}`.\n\n"
        "Validated before anything is written; one transaction per month. The same file twice changes "
        "nothing, a correction adds a version."
    )


def _raw(table: Table) -> Work:
    def work(step: MonthStep) -> MonthResult:
        if table.optional and not accepted(step.month, table):
            return _absent(step)
        loaded = _load(step, table)
        odd = _oddities(step, table, loaded)
        passed_over = _passed_over(loaded)
        # It is judged after the load on purpose: raw tables hold whatever was delivered, and no later stage
        # reads a version that is blocked.
        judgement = judge(step.month, table)
        outcomes = [
            Outcome(VALID.name, True, {"rows": loaded.newest.rows}),
            Outcome(AGREES.name, True),
            _plausible(odd, passed_over, judgement),
            _possible(judgement),
        ]
        metadata = {
            "as_of": str(step.month.as_of_date),
            "known_at": loaded.newest.known_at.isoformat(),
            "sha256": loaded.newest.sha256,
            "versions": loaded.versions,
            "versions_loaded_now": loaded.loaded,
            **({"versions_passed_over": "; ".join(passed_over)} if passed_over else {}),
            "unknown_values": null_counts(loaded.by_user.rows),
            "preview": preview(loaded.by_user.rows),
        }
        return MonthResult(loaded.newest.rows, loaded.newest.fingerprint, metadata, outcomes)

    return work


def _absent(step: MonthStep) -> MonthResult:
    """Return the result for an optional table that is absent from the drop: nobody has a row."""
    outcomes = [Outcome(check.name, True) for check in (VALID, AGREES, PLAUSIBLE, POSSIBLE)]
    metadata = {"as_of": str(step.month.as_of_date), "delivered": False}
    return MonthResult(0, "absent", metadata, outcomes)


def _passed_over(loaded: RawMonth) -> list[str]:
    """Return a sentence on each older version that could not be loaded; the newest one replaces them."""
    return [
        f"delivery {each.delivery_id}, accepted at {minute(each.accepted_at)}, is passed over:"
        f" {each.unloadable}"
        for each in loaded.passed_over
    ]


def _plausible(odd: list[Oddity], passed_over: list[str], judgement: Judgement | None) -> Outcome:
    beside = [finding.what for finding in judgement.odd] if judgement else []
    counts = [f"{o.column} {o.what}: {o.count:,} of {o.rows:,}" for o in odd]
    remarks = [*passed_over, *counts, *beside]
    listed = [oddities_markdown(odd), *(f"- {what}" for what in beside)]
    metadata = {"oddities": dg.MetadataValue.md("\n\n".join(listed))}
    return Outcome(PLAUSIBLE.name, not remarks, metadata, "; ".join(remarks) or None)


def _possible(judgement: Judgement | None) -> Outcome:
    if judgement is None:
        return Outcome(POSSIBLE.name, True)
    compared = [
        f"- {d.table.shown_file} of {d.month}, known on {d.known_at:%F} (delivery {d.delivery_id})"
        for d in judgement.compared_with
    ]
    metadata = {
        "compared_with": dg.MetadataValue.md("\n".join(compared) or "there is no other month yet"),
        "confirmed": dg.MetadataValue.md(
            "\n".join(f"- {rule}: {word}" for rule, word in judgement.confirmed.items())
            or "nothing"
        ),
    }
    return Outcome(POSSIBLE.name, not judgement.blocking, metadata, judgement.text or None)


def _oddities(step: MonthStep, table: Table, loaded: RawMonth) -> list[Oddity]:
    """Return what is odd about the file, by itself and compared with the month's users."""
    odd = oddities(table, loaded.by_user.rows, step.month)
    users = in_force(step.month, USERS)
    if table is not USERS and users is not None:
        odd += oddities_beside(_users(users), table, loaded.by_user, step.month)
    return odd


# All other files of a month ask for the same delivery, which never changes.
@functools.lru_cache(maxsize=1)
def _users(delivery: Delivery) -> Users:
    return Users.of(ByUser(read_accepted(delivery)))


def _load(step: MonthStep, table: Table) -> RawMonth:
    try:
        return load_raw(step.month, table)
    except RefusedDrop as error:
        problems = {"problems": dg.MetadataValue.md(markdown(error.problems))}
        outcome = Outcome(VALID.name, False, problems, summary(error.problems))
        raise CheckFailed(outcome) from error
    except UnknownUsers as error:
        raise CheckFailed(Outcome(AGREES.name, False, {}, str(error))) from error
