"""Judging a delivery beside other months: choose what to compare it with, apply the rules, keep the result.

What a delivery is compared with depends on the accepted deliveries alone, so that a backfill ends in the same
judgements whatever its order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import psycopg
import pyarrow as pa
from psycopg import sql

from churn.contract.in_force import CONTRACT, LABELS, PROFILE_TABLES, USERS
from churn.contract.structure import Table
from churn.database import connect
from churn.database.copying import copy_out
from churn.database.partitions import exists, raw_partition
from churn.deliveries.files import plain_schema
from churn.deliveries.ledger import Delivery, in_force, of_all_months
from churn.deliveries.store import stored_rows
from churn.errors import ChurnError
from churn.months import Month
from churn.plausibility.confirmations import Confirmation, confirm, of_delivery
from churn.plausibility.rules import (
    Finding,
    Leavers,
    ProfileMonth,
    columns_read,
    compare,
    impossible,
    labels_agree,
    labels_cover,
    leavers_share,
    same_content,
    same_labels,
)

_EARLIER_MONTHS = 2


@dataclass(frozen=True)
class Neighbours:
    """The versions that a delivery is compared with, the one that counts most first.

    Args:
        before: versions of the last two earlier months. A file that does not fit the first may still fit
            another: then the first is wrong, and was corrected later or is blocked itself.
        after: versions of the next month, where that was known first, since this delivery is a correction or
            a late drop.
    """

    before: tuple[Delivery, ...]
    after: tuple[Delivery, ...]


def neighbours(judged: Delivery, deliveries: Sequence[Delivery]) -> Neighbours:
    """Return the versions that a delivery is compared with.

    Args:
        judged: the delivery.
        deliveries: every accepted version of the same file, of all months.
    """
    months = sorted({other.month for other in _known_before(judged, deliveries)})
    before = [month for month in months if month < judged.month][-_EARLIER_MONTHS:]
    after = [month for month in months if month > judged.month][:1]
    return Neighbours(
        tuple(v for month in reversed(before) for v in _versions(month, judged, deliveries)),
        tuple(v for month in after for v in _versions(month, judged, deliveries)),
    )


def twin(judged: Delivery, deliveries: Sequence[Delivery]) -> Delivery | None:
    """Return the delivery of another month that has the same content and is in force there; None if none."""
    for other in _known_before(judged, deliveries):
        if other.fingerprint == judged.fingerprint and other == _newest(other.month, deliveries):
            return other
    return None


def _known_before(judged: Delivery, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return the versions of other months known before; of two known at once, the later month's is later."""
    return [
        other
        for other in deliveries
        if other.month != judged.month
        and (other.known_at, other.month) < (judged.known_at, judged.month)
    ]


def _versions(month: Month, judged: Delivery, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return a month's version in force when the judged one became known, and its newest, if another."""
    known = [other for other in _known_before(judged, deliveries) if other.month == month]
    then, now = max(known, key=lambda each: each.known_at), _newest(month, deliveries)
    return [then] if now == then else [then, now]


def _newest(month: Month, deliveries: Sequence[Delivery]) -> Delivery:
    return max((d for d in deliveries if d.month == month), key=lambda each: each.known_at)


# How many earlier months the share of leavers is compared with.
_EARLIER_LABELS = 3


@dataclass(frozen=True)
class Judgement:
    """What was found about a delivery beside other months; `confirmed` holds the confirmations by rule."""

    delivery: Delivery
    findings: tuple[Finding, ...]
    compared_with: tuple[Delivery, ...]
    confirmed: Mapping[str, Confirmation]

    @property
    def blocking(self) -> list[Finding]:
        """The impossible findings that nobody has confirmed."""
        return [f for f in impossible(self.findings) if f.rule not in self.confirmed]

    @property
    def odd(self) -> list[Finding]:
        """The findings that are only unusual, and block nothing."""
        return [finding for finding in self.findings if not finding.is_impossible]

    @property
    def text(self) -> str:
        """The blocking findings with the remedy; else what a person has confirmed; else an empty text."""
        if not self.blocking:
            confirmed = impossible(self.findings)
            return "\n".join(f"{f.what}; {self.confirmed[f.rule]}" for f in confirmed)
        month, rules = self.delivery.month, sorted({f.rule for f in self.blocking})
        words = " and ".join(
            f"`churn confirm --month {month} --check {rule} --reason TEXT`" for rule in rules
        )
        facts = "\n".join(finding.what for finding in self.blocking)
        return f"{facts}\n  -> deliver the export of {month} itself; if this one is right, {words}"


def judge(month: Month, table: Table) -> Judgement | None:
    """Judge the newest version of a month's file and keep the result; None where there is no version.

    Earlier versions that were never judged are judged, too: no stage may read an impossible one.
    """
    with connect() as connection:
        # This is read first, so that what arrives meanwhile counts as later.
        seen = _newest_delivery(connection)
        every = of_all_months(table, connection)
        versions = [delivery for delivery in every if delivery.month == month]
        newest = versions[-1] if versions else None
        judgement = None
        for delivery in versions:
            if delivery == newest or not _is_judged(connection, delivery):
                judgement = _judge(connection, delivery, every, seen)
        return judgement


def copies(deliveries: Iterable[Delivery]) -> list[Finding]:
    """Return which deliveries are copies of another month's, so that the sender hears of it at once.

    Nothing is kept and nothing is blocked: that is left to the judgement, when the month is made.
    """
    findings: list[Finding] = []
    with connect() as connection:
        for delivery in deliveries:
            every = of_all_months(delivery.table, connection)
            findings += _DeliveryComparison(connection, delivery, every).copies()
    return findings


def judge_month(month: Month) -> list[Judgement]:
    """Judge the newest version of each of a month's files."""
    judged = [judge(month, table) for table in (*PROFILE_TABLES, LABELS)]
    return [judgement for judgement in judged if judgement]


def confirm_month(
    month: Month, rule: str, *, file: str | None, reason: str, actor: str
) -> list[Judgement]:
    """Record that what a rule finds impossible about a month is right; return the new judgements.

    Args:
        month: the month.
        rule: the rule's name.
        file: a table's name, to confirm it for one file only.
        reason: why it is right.
        actor: who says so.

    Raises:
        ChurnError: no rule of that name blocks the month, or no reason is given.
    """
    blocked = [
        (judgement, finding)
        for judgement in judge_month(month)
        for finding in judgement.blocking
        if file is None or judgement.delivery.file == file.removesuffix(".csv")
    ]
    chosen = [(judgement, finding) for judgement, finding in blocked if finding.rule == rule]
    if not chosen:
        names = ", ".join(sorted({finding.rule for _, finding in blocked})) or "nothing"
        raise ChurnError(
            f"{rule} does not block {file or 'it'}; what does: {names}",
            where=str(month),
            remedy=f"see `churn confirm --month {month}`",
        )
    with connect() as connection:
        for judgement, finding in chosen:
            confirm(connection, judgement.delivery, finding, reason=reason, actor=actor)
    tables = dict.fromkeys(judgement.delivery.table for judgement, _ in chosen)
    return [again for table in tables if (again := judge(month, table))]


def _newest_delivery(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT max(delivery_id) FROM raw.deliveries").fetchone()
    return (row[0] if row else None) or 0


def _judge(
    connection: psycopg.Connection, delivery: Delivery, every: Sequence[Delivery], seen: int
) -> Judgement:
    bench = _DeliveryComparison(connection, delivery, every)
    try:
        findings = bench.labels() if delivery.table is LABELS else bench.profile()
    except ChurnError as error:
        # A stored file that cannot be read is reported by another check.
        findings = [Finding("same_content", f"nothing was compared: {error.what}", False)]
    compared = tuple(dict.fromkeys(bench.compared))
    connection.execute(
        "INSERT INTO raw.judgements AS j (delivery_id, findings, compared_with, blocked_after)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (delivery_id) DO UPDATE SET findings = excluded.findings,"
        " compared_with = excluded.compared_with, judged_at = clock_timestamp(),"
        " blocked_after = coalesce(j.blocked_after, excluded.blocked_after)",
        [
            delivery.delivery_id,
            json.dumps([asdict(finding) for finding in findings]),
            [other.delivery_id for other in compared],
            seen if impossible(findings) else None,
        ],
    )
    return Judgement(delivery, tuple(findings), compared, of_delivery(connection, delivery))


def _is_judged(connection: psycopg.Connection, delivery: Delivery) -> bool:
    query = "SELECT 1 FROM raw.judgements WHERE delivery_id = %s"
    return connection.execute(query, [delivery.delivery_id]).fetchone() is not None


class _DeliveryComparison:
    """One delivery and the versions that it is compared with, which are noted in `compared`."""

    def __init__(
        self, connection: psycopg.Connection, delivery: Delivery, every: Sequence[Delivery]
    ) -> None:
        self._connection, self._delivery, self._every = connection, delivery, every
        self.compared: list[Delivery] = []

    def profile(self) -> list[Finding]:
        delivery, table = self._delivery, self._delivery.table
        near, same = neighbours(delivery, self._every), twin(delivery, self._every)
        if not near.before and not near.after and not same:
            return []
        judged = ProfileMonth(delivery.month, self._rows(delivery, columns_read(table)))
        findings = self._copies(judged.rows, same)
        if not impossible(findings):
            findings += self._beside(judged, near.before)
            findings += self._beside(judged, near.after)
        return findings

    def copies(self) -> list[Finding]:
        """Return a finding where the file is a copy of another month's; little is read where it is not."""
        table, same = self._delivery.table, twin(self._delivery, self._every)
        columns = ("user_id", "churn_label") if table is LABELS else columns_read(table)
        return self._copies(self._rows(self._delivery, columns), same) if same else []

    def _copies(self, rows: pa.Table, same: Delivery | None) -> list[Finding]:
        if same is None:
            return []
        self.compared.append(same)
        month, table = self._delivery.month, self._delivery.table
        if table is LABELS:
            return [same_labels(month, rows, same.month)]
        is_whole_month = self._is_whole_month(same)
        judged = ProfileMonth(month, rows)
        return [same_content(table, judged, same.month, is_whole_month=is_whole_month)]

    def _beside(self, judged: ProfileMonth, others: Sequence[Delivery]) -> list[Finding]:
        """Return the findings beside the first version, unless the file fits one of the others better.

        For tables of a time window only the first month counts: rows that occur again in it are a copy,
        whatever other months hold.
        """
        table, first = self._delivery.table, None
        for other in others:
            if other.month != others[0].month and table.window_days is not None:
                break
            rows = ProfileMonth(other.month, self._rows(other, columns_read(table)))
            self.compared.append(other)
            findings = compare(table, judged, rows)
            if first is None and not impossible(findings):
                return findings
            if first is not None and not findings:
                return _made_odd(first, other)
            first = findings if first is None else first
        return first or []

    def labels(self) -> list[Finding]:
        delivery, month = self._delivery, self._delivery.month
        labels = self._rows(delivery, ("user_id", "churn_label"))
        findings = self._copies(labels, twin(delivery, self._every))
        # Derived labels come from the very users that they would be checked against.
        are_delivered = CONTRACT.label.kind == "file"
        if are_delivered:
            findings += self._best(
                labels_cover(month, labels, users) for users in self._users_of(month)
            )
        findings += leavers_share(self._leavers(delivery), self._earlier_leavers())
        if are_delivered:
            findings += self._best(
                labels_agree(month, labels, users, after)
                for users in self._users_of(month)[:1]
                for after in self._users_of(month.next)
            )
        return findings

    def _best(self, attempts: Iterable[list[Finding]]) -> list[Finding]:
        """Return the first findings of which none is impossible, else the first findings."""
        first = None
        for findings in attempts:
            if not impossible(findings):
                return findings
            first = first or findings
        return first or []

    def _users_of(self, month: Month) -> list[pa.ChunkedArray]:
        """Return the month's users in the version in force when the labels were known, and in today's."""
        then = in_force(month, USERS, self._delivery.known_at, self._connection)
        now = in_force(month, USERS, connection=self._connection)
        if then is None or now is None:
            return []
        versions = list(dict.fromkeys([then, now]))
        self.compared += versions
        return [self._rows(version, ("user_id",))["user_id"] for version in versions]

    def _earlier_leavers(self) -> list[Leavers]:
        month = self._delivery.month
        known = {
            other.month: other
            # The oldest known comes first, so the last one of a month is the one in force.
            for other in self._every
            if other.month < month and other.known_at <= self._delivery.known_at
        }
        chosen = [known[earlier] for earlier in sorted(known)[-_EARLIER_LABELS:]]
        self.compared += chosen
        return [self._leavers(other) for other in chosen]

    def _leavers(self, delivery: Delivery) -> Leavers:
        labels = self._rows(delivery, ("user_id", "churn_label"))["churn_label"]
        return Leavers(delivery.month, pa.compute.sum(labels).as_py() or 0, len(labels))

    def _is_whole_month(self, same: Delivery) -> bool:
        """Return whether all profile files of the two months are the same."""
        row = self._connection.execute(
            "SELECT count(DISTINCT file) FROM raw.deliveries AS mine WHERE month = %s AND file <> %s"
            " AND EXISTS (SELECT FROM raw.deliveries AS other WHERE other.month = %s"
            "  AND other.file = mine.file AND other.fingerprint = mine.fingerprint)",
            [self._delivery.month.first_day, LABELS.name, same.month.first_day],
        ).fetchone()
        needed = sum(not table.optional for table in PROFILE_TABLES)
        return row is not None and int(row[0]) >= needed

    def _rows(self, delivery: Delivery, columns: Sequence[str]) -> pa.Table:
        """Return columns of a delivery from its stored file, which is several times as fast as raw rows.

        Where the stored file is no longer the accepted one, the raw rows are read, if they were loaded.
        """
        rows = stored_rows(delivery)
        if rows is not None:
            return rows.select(list(columns))
        return self._raw_rows(delivery, columns)

    def _raw_rows(self, delivery: Delivery, columns: Sequence[str]) -> pa.Table:
        partition = raw_partition(delivery.table, delivery.delivery_id)
        if not exists(self._connection, partition):
            raise ChurnError(
                f"{delivery.table.shown_file} of {delivery.month} (delivery {delivery.delivery_id}) is"
                " neither in the store nor loaded"
            )
        schema = plain_schema(delivery.table)
        chosen = pa.schema([schema.field(name) for name in columns])
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), partition
        )
        return copy_out(self._connection, query, chosen)


def _made_odd(findings: Sequence[Finding], fits: Delivery) -> list[Finding]:
    """Return impossible findings as odd ones, since the file fits another version."""
    return [
        Finding(f.rule, f"{f.what}; but it fits {fits.month} as known on {fits.known_at:%F}", False)
        for f in impossible(findings)
    ]
