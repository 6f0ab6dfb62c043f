"""Who did what, and when: sign-ins, exports, reports of calls, looks at a customer's page, campaigns.

The table is append-only: the database itself refuses to change or to delete an entry. Erasing a customer
takes their id out, and nothing else (`churn.erasure`).
"""

from enum import StrEnum
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

MAX_NAME = 200  # of what somebody typed as their name


class Act(StrEnum):
    """What is recorded; another kind of act is one line here."""

    SIGN_IN = "sign-in"
    SIGN_IN_REFUSED = "sign-in refused"
    SIGN_OUT = "sign-out"
    LINK = "sign-in link made"
    PERSON_ADDED = "person added"
    PERSON_REMOVED = "person removed"
    KEY_ADDED = "API key added"
    KEY_REMOVED = "API key removed"
    EXPORT = "export"
    CALLS_REPORTED = "calls reported"
    CALLS_WITHDRAWN = "calls withdrawn"
    CUSTOMER_SEEN = "customer seen"
    CAMPAIGN_SAVED = "campaign saved"
    RELEASE_ASKED = "release asked for"
    DROP_SENT = "drop sent"


def record(
    connection: psycopg.Connection, act: Act, person: str, *, subject: str = "", **detail: Any
) -> None:
    """Write down an act, in the transaction that does it: neither is there without the other.

    Args:
        connection: of the console's own role, or of the database's owner.
        act: what was done.
        person: by whom.
        subject: to what or to whom: a user, a month, another person.
        detail: more facts, such as the hash of an exported list.
    """
    connection.execute(
        "INSERT INTO console.acts (act, person, subject, detail) VALUES (%s, %s, %s, %s)",
        [str(act), person[:MAX_NAME], subject, Jsonb(detail)],
    )
