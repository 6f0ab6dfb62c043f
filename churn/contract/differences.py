"""The differences between two contracts: which may be applied to a system with data, and which break it.

A breaking difference would lose data, or give another meaning to what is kept, and is refused. All others may
be applied to a system with data: what is new is added, and what holds from now on is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from churn.contract.structure import Column, Contract, Service, Table, View

_Part = TypeVar("_Part")
_WIDER = {("int", "float")}
_LARGEST_FLOAT32_INT = 2**24
_READ_OTHERWISE = (
    "hold a drop against it: `churn contract check DIR`; what was taken in stays as it was read until the"
    " same drop is delivered again, which makes a corrected version of it"
)


@dataclass(frozen=True)
class Difference:
    """One difference.

    Args:
        where: the key in the contract's file, such as `tables.users.columns.country`.
        what: the fact.
        is_breaking: it cannot be applied to a system with data.
        remedy: what a person should do about it; empty where there is nothing to do.
    """

    where: str
    what: str
    is_breaking: bool
    remedy: str = ""

    def __str__(self) -> str:
        """The difference on one line, and the remedy on another."""
        kind = "breaks " if self.is_breaking else "changes"
        return f"{kind} {self.where}: {self.what}" + (
            f"\n  -> {self.remedy}" if self.remedy else ""
        )


def differences(old: Contract, new: Contract) -> tuple[Difference, ...]:
    """Return every difference that matters to data or to models, in the order of the file."""
    return (
        *_of_calendar(old, new),
        *_by_name(
            old.table_by_name, new.table_by_name, "tables", _of_table, _table_is_new, _table_is_gone
        ),
        *_by_name(_views(old), _views(new), "views", _of_view, _view_is_new, _view_is_gone),
        *_of_services(old, new),
    )


def _of_calendar(old: Contract, new: Contract) -> Iterator[Difference]:
    if old.name != new.name:
        remedy = "leave it: models and the experiment are found in MLflow by it"
        yield Difference("name", f"{old.name} is {new.name} now", True, remedy)
    if old.first_month != new.first_month:
        what = f"the first month was {old.first_month} and is {new.first_month}"
        remedy = "begin anew in another CHURN_HOME: every month would change its number"
        yield Difference("first_month", what, True, remedy)
    if old.population != new.population:
        what = f"who is there was said by {old.population}, and is by {new.population}"
        yield Difference("population", what, True, "begin anew in another CHURN_HOME")
    if old.label != new.label:
        what = "labels come from elsewhere, and those that are there would be derived anew"
        remedy = "begin anew in another CHURN_HOME: it is another label"
        yield Difference("label", what, True, remedy)
    if (old.tenure, old.customer_value) != (new.tenure, new.customer_value):
        what = "models and lists to come are judged by another measure"
        yield Difference("tenure, customer_value", what, False)
    # The key of such a file only says whose rows are left out once somebody is erased.
    before, after = (
        {file.name: dataclasses.replace(file, key="") for file in each.source_files}
        for each in (old, new)
    )
    if before != after:
        what = "files that selects read are others, or written otherwise"
        yield Difference("files", what, False, _READ_OTHERWISE)
    if (old.default_service, old.baseline_service) != (new.default_service, new.baseline_service):
        what = "models to come are fitted on another feature service"
        yield Difference("default_service, baseline_service", what, False)


def _by_name(
    old: Mapping[str, _Part],
    new: Mapping[str, _Part],
    section: str,
    changed: Callable[[str, _Part, _Part], Iterator[Difference]],
    is_new: Callable[[str, _Part], Difference],
    is_gone: Callable[[str, _Part], Difference],
) -> Iterator[Difference]:
    for name, each in old.items():
        where = f"{section}.{name}"
        if name in new:
            yield from changed(where, each, new[name])
        else:
            yield is_gone(where, each)
    for name, each in new.items():
        if name not in old:
            yield is_new(f"{section}.{name}", each)


def _table_is_new(where: str, table: Table) -> Difference:
    remedy = (
        ""
        if table.optional
        else "say optional: true, or stored drops, which lack it, cannot be corrected in one file"
    )
    return Difference(where, f"a table of {len(table.values)} columns is new", False, remedy)


def _table_is_gone(where: str, table: Table) -> Difference:
    remedy = (
        "leave it declared with optional: true; its rows and the old releases that read it stay"
    )
    return Difference(where, "the table is gone, and its history with it", True, remedy)


def _of_table(where: str, old: Table, new: Table) -> Iterator[Difference]:
    if old.snapshot != new.snapshot:
        what = f"its snapshots were {old.snapshot} and would be {new.snapshot}, which is empty"
        yield Difference(f"{where}.snapshot", what, True, f"leave it {old.snapshot}")
    if old.dialect != new.dialect and old.select is None:
        what = "its file is written otherwise"
        yield Difference(f"{where}.dialect", what, False, _READ_OTHERWISE)
    elif (old.files, old.select, old.dialect) != (new.files, new.select, new.dialect):
        yield Difference(where, "it is read in another way", False, _READ_OTHERWISE)
    if old.columns[0].source_name != new.columns[0].source_name:
        what = f"the key was {old.columns[0].source_name} and is {new.columns[0].source_name}"
        yield Difference(f"{where}.key", what, False, _READ_OTHERWISE)
    if old.optional and not new.optional:
        yield Difference(f"{where}.optional", "a drop without it is refused from now on", False)
    yield from _by_name(
        {column.name: column for column in old.values},
        {column.name: column for column in new.values},
        f"{where}.columns",
        _of_column,
        _column_is_new,
        _column_is_gone,
    )


def _column_is_new(where: str, column: Column) -> Difference:
    remedy = "" if column.optional else "say optional: true, unless every later drop has it"
    since = f", a feature since version {column.since}" if column.since else ""
    what = f"a column ({column.kind}) is new{since}; months before have no value"
    if column.since == 1:
        remedy = "say since: 2, or the version of the services that releases were fitted on changes"
        return Difference(where, what, True, remedy)
    return Difference(where, what, False, remedy)


def _column_is_gone(where: str, column: Column) -> Difference:
    remedy = (
        "leave it declared with optional: true; a drop need not have it, and what is there stays"
    )
    return Difference(where, "the column is gone, and its values with it", True, remedy)


def _of_column(where: str, old: Column, new: Column) -> Iterator[Difference]:
    if old.kind != new.kind:
        wider = (old.kind, new.kind) in _WIDER and not _is_rounded(old, new)
        what = f"the type was {old.kind} and is {new.kind}"
        remedy = "declare a new column for the new type, and keep this one optional"
        if _is_rounded(old, new):
            remedy = "say exact: true, or whole numbers beyond 16,777,216 are served rounded"
        elif wider:
            remedy = ""
        yield Difference(f"{where}.type", what, not wider, remedy)
    if old.is_exact != new.is_exact:
        what = "it keeps its cents now" if new.is_exact else "its cents would be lost"
        yield Difference(
            f"{where}.exact", what, old.is_exact, "" if new.is_exact else "leave it exact"
        )
    if old.source_name != new.source_name:
        what = f"the file calls it {new.source_name} now, and {old.source_name} before"
        is_known = old.source_name in (new.source_name, *new.earlier_sources, new.name)
        both = f"source: [{new.source_name}, {old.source_name}]"
        remedy = "" if is_known else f"say {both} where older files are to be delivered again"
        yield Difference(f"{where}.source", what, False, remedy)
    if old.since != new.since:
        what = f"it was a feature since {_version(old.since)}, and is since {_version(new.since)}"
        is_added = old.since is None and (new.since or 0) > 1
        remedy = "" if is_added else "a version does not change: make a column of another name"
        yield Difference(f"{where}.since", what, not is_added, remedy)
    yield from _of_bounds(where, old, new)


def _is_rounded(old: Column, new: Column) -> bool:
    """Return whether a feature that is a whole number would be served with too few digits."""
    is_wide = old.maximum is None or old.maximum > _LARGEST_FLOAT32_INT
    return new.kind == "float" and new.since is not None and not new.is_exact and is_wide


def _version(since: int | None) -> str:
    return f"version {since}" if since else "never"


def _of_bounds(where: str, old: Column, new: Column) -> Iterator[Difference]:
    minimum = _tighter(old.minimum, new.minimum, lambda before, after: after > before)
    maximum = _tighter(old.maximum, new.maximum, lambda before, after: after < before)
    if minimum or maximum or (new.required and not old.required):
        what = "values that were taken in may be refused now"
        remedy = (
            "a month that breaks it cannot be made again as it was delivered: deliver it corrected"
        )
        yield Difference(where, what, False, remedy)
    elif (old.minimum, old.maximum, old.required) != (new.minimum, new.maximum, new.required):
        yield Difference(where, "more values are possible than before", False)
    if old.optional and not new.optional:
        yield Difference(f"{where}.optional", "a file without it is refused from now on", False)


def _tighter(
    old: float | None, new: float | None, is_beyond: Callable[[float, float], bool]
) -> bool:
    return new is not None and (old is None or is_beyond(old, new))


def _views(contract: Contract) -> dict[str, View]:
    return {view.name: view for view in contract.views}


def _view_is_new(where: str, view: View) -> Difference:
    return Difference(where, f"a view of {len(view.features)} features is new", False)


def _view_is_gone(where: str, view: View) -> Difference:
    return Difference(
        where, "the view is gone", True, "leave it: releases were fitted on its features"
    )


def _of_view(where: str, old: View, new: View) -> Iterator[Difference]:
    before = [feature.name for feature in old.features]
    after = [feature.name for feature in new.features][: len(before)]
    if before != after:
        what = f"its features were {', '.join(before)} and are {', '.join(after)}"
        yield Difference(
            where, what, True, "leave their order; a new one comes behind, with since: N"
        )


def _of_services(old: Contract, new: Contract) -> Iterator[Difference]:
    before = {service.versioned_name: service for service in old.services}
    after = {service.versioned_name: service for service in new.services}
    for name, service in before.items():
        where = f"services.{service.name}"
        if name not in after:
            yield Difference(where, f"{name} is gone", True, "leave it: releases name it")
        elif service.feature_names != after[name].feature_names:
            yield Difference(
                where, f"{name} has other features", True, _remedy_of(service, after[name])
            )
    for name, service in after.items():
        if name not in before:
            what = (
                f"{name} has {len(service.features)} features; models fitted on it are challengers"
            )
            yield Difference(f"services.{service.name}", what, False)


def _remedy_of(old: Service, new: Service) -> str:
    more = [name for name in new.feature_names if name not in old.feature_names]
    return f"a version does not change: say since: {old.version + 1} of {', '.join(more) or 'what is new'}"
