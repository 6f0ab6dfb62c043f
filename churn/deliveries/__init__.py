"""Deliveries: a monthly drop is read, held against the contract, kept unchanged and recorded.

A month that cannot be, seen beside others, is `churn.plausibility`; rows in Postgres are `churn.warehouse`.
"""

from churn.deliveries.accept import DeliveryOutcome, FileOutcome, deliver
from churn.deliveries.drops import find_drops
from churn.deliveries.ledger import Delivery, accepted, in_force
from churn.deliveries.problems import Oddity, Problem, Refusal, RefusedDrop
from churn.deliveries.store import read_accepted

__all__ = [
    "Delivery",
    "DeliveryOutcome",
    "FileOutcome",
    "Oddity",
    "Problem",
    "Refusal",
    "RefusedDrop",
    "accepted",
    "deliver",
    "find_drops",
    "in_force",
    "read_accepted",
]
