"""The contract in force, as names to import: tables, feature views, feature services, names in MLflow.

It is read once, at the first import, from the file that `churn.settings` names. The parts of a contract are
defined in `structure.py`; its file is read by `document.py`.
"""

import re
from collections.abc import Collection, Sequence

from churn.contract.structure import LABEL_TABLE, Service
from churn.errors import ChurnError
from churn.settings import contract_in_force

CONTRACT = contract_in_force()
TABLES = CONTRACT.tables
BY_NAME = CONTRACT.table_by_name
# The table that says who is there in a month.
USERS = CONTRACT.users
LABELS = CONTRACT.labels
PROFILE_TABLES = tuple(table for table in TABLES if table.name != LABEL_TABLE)
USER_ID = USERS.columns[0]


VIEWS = CONTRACT.views
VIEW_BY_NAME = {view.name: view for view in VIEWS}
# Every version of every feature service, the newest of each last.
SERVICE_VERSIONS = CONTRACT.services
# The newest version of each feature service.
SERVICES = tuple(CONTRACT.newest(name) for name in dict.fromkeys(s.name for s in SERVICE_VERSIONS))
SERVICE_BY_NAME = {service.name: service for service in SERVICES}
DEFAULT_SERVICE = SERVICE_BY_NAME[CONTRACT.default_service]
BASELINE = SERVICE_BY_NAME[CONTRACT.baseline_service]

_VERSIONED = re.compile(r"(.+)_v(\d+)")


def service_named(name: str) -> Service:
    """Return a feature service by its versioned name, or by the plain name, which means version 1 in records.

    Raises:
        ChurnError: the contract in force has no such service.
    """
    for service in SERVICE_VERSIONS:
        if name in (service.recorded_name, service.versioned_name):
            return service
    raise ChurnError(
        f"there is no feature service {name}",
        where=f"contract {CONTRACT.source}",
        remedy=f"choose one of {', '.join(each.versioned_name for each in SERVICE_VERSIONS)}",
    )


def services_within(
    columns: Collection[str], versions: Sequence[Service] = SERVICE_VERSIONS
) -> list[Service]:
    """Return, for each feature service, the newest version whose features are all among the columns.

    Where no version qualifies, the first is returned; of versions with the same features, the oldest.
    """
    within = []
    for name in dict.fromkeys(each.name for each in versions):
        own = [each for each in versions if each.name == name]
        whole = [each for each in own if set(columns).issuperset(each.feature_names)]
        newest = (whole or own[:1])[-1]
        within.append(next(each for each in own if each.features == newest.features))
    return within


def service_of(recorded: str, names: Collection[str]) -> Service:
    """Return a service with exactly the features that a model takes.

    Args:
        recorded: the name of the service in the model's records.
        names: the names of the features.

    Raises:
        ChurnError: the contract in force no longer has one of them.
    """
    for service in SERVICE_VERSIONS:
        if service.recorded_name == recorded and set(service.feature_names) == set(names):
            return service
    views = tuple(part for view in VIEWS if (part := view.part(names)).features)
    known = {name for view in views for name in view.feature_names}
    if gone := [name for name in names if name not in known]:
        raise ChurnError(
            f"there is no feature {', '.join(gone)} any more, which a model of {recorded} takes",
            where=f"contract {CONTRACT.source}",
            remedy="put the column back as a feature, or `churn promote` a release that does without it",
        )
    name, version = _split(recorded)
    return Service(name, views, f"What a model of {recorded} takes.", version)


def plain_name(recorded: str) -> str:
    """Return a service's name without its version."""
    return _split(recorded)[0]


def versioned_name(recorded: str) -> str:
    """Return the name of a service's version: `churn_rich_v1` for `churn_rich`."""
    name, version = _split(recorded)
    return f"{name}_v{version}"


def _split(recorded: str) -> tuple[str, int]:
    match = _VERSIONED.fullmatch(recorded)
    if match is None or recorded in SERVICE_BY_NAME:
        return recorded, 1
    return match[1], int(match[2])


REGISTERED_MODEL = f"{CONTRACT.name}_churn"
CHAMPION_ALIAS = "champion"
# Paths among the artifacts of a model version's run.
ONNX_PATH = "onnx/model.onnx"
SCHEMA_PATH = "feature_schema.json"
