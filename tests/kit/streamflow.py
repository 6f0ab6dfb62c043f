"""The tables and views of StreamFlow's own contract, by the names that tests use."""

import re

import yaml

from churn.contract.document import read_contract
from churn.contract.in_force import BY_NAME, USERS, VIEW_BY_NAME
from churn.contract.structure import Contract
from churn.settings import default_contract


def _first_version() -> Contract:
    """Return the contract without what came with later versions of the services: columns, tables, views."""
    document = yaml.safe_load(default_contract().text)
    later = {
        name
        for name, table in document["tables"].items()
        if all(column.get("since", 1) > 1 for column in table["columns"].values())
    }
    later |= {name for name, view in document["views"].items() if view["table"] in later}
    lines, is_later = [], False
    for line in default_contract().text.splitlines():
        if begun := re.match(r" {0,2}(?=\S)(\w+)?", line):
            is_later = begun[1] in later
        if not is_later and "since:" not in line:
            lines.append(line)
    first = read_contract("\n".join(lines) + "\n", "streamflow, first version")
    assert {service.version for service in first.services} == {1}, (
        "write a later column on one line"
    )
    return first


FIRST = _first_version()

SUBSCRIPTIONS = BY_NAME["subscriptions"]
USAGE = BY_NAME["usage_agg_30d"]
PAYMENTS = BY_NAME["payments_agg_90d"]
SUPPORT = BY_NAME["support_agg_90d"]

SUBS_PROFILE = VIEW_BY_NAME["subs_profile_fv"]
USAGE_AGG = VIEW_BY_NAME["usage_agg_30d_fv"]
PAYMENTS_AGG = VIEW_BY_NAME["payments_agg_90d_fv"]
SUPPORT_AGG = VIEW_BY_NAME["support_agg_90d_fv"]
SUBS_CONTRACT = VIEW_BY_NAME["subs_contract_fv"]
USERS_PROFILE = VIEW_BY_NAME["users_profile_fv"]

__all__ = [
    "FIRST", "PAYMENTS", "PAYMENTS_AGG", "SUBSCRIPTIONS", "SUBS_CONTRACT", "SUBS_PROFILE", "SUPPORT",
    "SUPPORT_AGG", "USAGE", "USAGE_AGG", "USERS", "USERS_PROFILE",
]  # fmt: skip
