"""The tables of the contract in force. Everything that reads or writes a drop starts here."""

from churn.contract.structure import LABEL_TABLE, Column, Table
from churn.contract.types import Kind
from churn.settings import contract_in_force

__all__ = [
    "BY_NAME", "CONTRACT", "LABELS", "PROFILE_TABLES", "TABLES", "USERS", "USER_ID",
    "Column", "Kind", "Table",
]  # fmt: skip

CONTRACT = contract_in_force()
TABLES = CONTRACT.tables
BY_NAME = CONTRACT.table_by_name
# The table that says who is there in a month.
USERS = CONTRACT.users
LABELS = CONTRACT.labels
PROFILE_TABLES = tuple(table for table in TABLES if table.name != LABEL_TABLE)
USER_ID = USERS.columns[0]
