"""Judging a delivery beside other months: find what it is compared with, apply the rules, keep the result.

What a delivery is compared with is a function of the accepted deliveries alone, so that any order of a
backfill ends in the same judgements.
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
    """The versions beside which a delivery is judged, the one that counts most first.

    Args:
        before: of the last two earlier months. A file that does not fit the first may fit another without
            any fault: then it is the first that is wrong, and was corrected later or is blocked itself.
        after: of the next month, where that was known before this delivery: a correction, or a late drop.
    """

    before: tuple[Delivery, ...]
    after: tuple[Delivery, ...]


def neighbours(judged: Delivery, deliveries: Sequence[Delivery]) -> Neighbours:
    """Return what a delivery is compared with.

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
    """Return the delivery of another month whose content this one repeats, if it is in force there."""
    for other in _known_before(judged, deliveries):
        if other.fingerprint == judged.fingerprint and other == _newest(other.month, deliveries):
            return other
    return None


def _known_before(judged: Delivery, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return the versions of other months that were known before; of two known at once, the later month's."""
    return [
        other
        for other in deliveries
        if other.month != judged.month
        and (other.known_at, other.month) < (judged.known_at, judged.month)
    ]


def _versions(month: Month, judged: Delivery, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return a month's version that was in force when the judged one became known, and the newest."""
    known = [other for other in _known_before(judged, deliveries) if other.month == month]
    then, now = max(known, key=lambda each: each.known_at), _newest(month, deliveries)
    return [then] if now == then else [then, now]


def _newest(month: Month, deliveries: Sequence[Delivery]) -> Delivery:
    return max((d for d in deliveries if d.month == month), key=lambda each: each.known_at)


_EARLIER_LABELS = 3  # months


@dataclass(frozen=True)
class Judgement:
    """What a delivery is beside the deliveries of other months."""

    delivery: Delivery
    findings: tuple[Finding, ...]
    compared_with: tuple[Delivery, ...]
    confirmed: Mapping[str, Confirmation]  # by rule

    @property
    def blocking(self) -> list[Finding]:
        """What cannot be, and nobody has confirmed."""
        return [f for f in impossible(self.findings) if f.rule not in self.confirmed]

    @property
    def odd(self) -> list[Finding]:
        """What is unusual, and only shown."""
        return [finding for finding in self.findings if not finding.is_impossible]

    @property
    def text(self) -> str:
        """The blocking findings with the remedy; else what a person has confirmed; else nothing."""
        if not self.blocking:
            told = impossible(self.findings)
            return "\n".join(f"{f.what}; {self.confirmed[f.rule]}" for f in told)
        month, rules = self.delivery.month, sorted({f.rule for f in self.blocking})
        words = " and ".join(
            f"`churn confirm --month {month} --check {rule} --reason TEXT`" for rule in rules
        )
        facts = "\n".join(finding.what for finding in self.blocking)
        return f"{facts}\n  -> deliver the export of {month} itself; if this one is right, {words}"


def judge(month: Month, table: Table) -> Judgement | None:
    """Judge the newest version of a month's file, and keep what was found; None where there is none.

    Versions before it that were never judged are, too: no stage is to read one that cannot be.
    """
    with connect() as connection:
        # Read first: what comes in meanwhile is to be looked at later.
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
    """Return which deliveries are, to the last value, another month's: for who delivers them to hear at once.

    Nothing is kept of it, and nothing blocked: that is for the judgement, once the month is made.
    """
    findings: list[Finding] = []
    with connect() as connection:
        for delivery in deliveries:
            every = of_all_months(delivery.table, connection)
            findings += _Comparison(connection, delivery, every).copies()
    return findings


def judge_month(month: Month) -> list[Judgement]:
    """Judge the newest version of every file that a month has."""
    judged = [judge(month, table) for table in (*PROFILE_TABLES, LABELS)]
    return [judgement for judgement in judged if judgement]


def confirm_month(
    month: Month, rule: str, *, file: str | None, reason: str, actor: str
) -> list[Judgement]:
    """Record that what a rule finds impossible about a month's files is right; return them, judged anew.

    Args:
        month: the month.
        rule: the rule's name.
        file: the table's name, where it is about one file only.
        reason: why it is right.
        actor: who says so.

    Raises:
        ChurnError: nothing of that name blocks the month, or no reason is given.
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
    bench = _Comparison(connection, delivery, every)
    try:
        findings = bench.labels() if delivery.table is LABELS else bench.profile()
    except ChurnError as error:  # a stored file that cannot be read is another check's matter
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


class _Comparison:
    """One delivery and what it is held against; remembers with which deliveries it was compared."""

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
        """Return whether the file is another month's; little is read where it is none."""
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
        """Return the findings beside the first version, where the file fits none of the others better.

        Rows that come again are a copy of the month that they come from, whatever other months hold.
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
        # Derived labels come from the very users that they would be held against.
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
        """Return the first findings without an impossible one, else the first."""
        first = None
        for findings in attempts:
            if not impossible(findings):
                return findings
            first = first or findings
        return first or []

    def _users_of(self, month: Month) -> list[pa.ChunkedArray]:
        """Return the users of the month's users.csv in force when the labels were known, and by now."""
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
            for other in self._every  # oldest known first: the last one of a month is in force
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
        """Return columns of a delivery: of its stored file, several times as quick as of its raw rows.

        Where the stored file is not the accepted one any more, the raw rows are, if they are there.
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
    """Return impossible findings as odd ones: the file fits another version that it is compared with."""
    return [
        Finding(f.rule, f"{f.what}; but it fits {fits.month} as known on {fits.known_at:%F}", False)
        for f in impossible(findings)
    ]
