"""Who may do what: the four roles, and the person who asks. Where they are checked is `access.py`."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a person may do; each role may do what those before it may."""

    VIEWER = 1  # look at pages
    CALLER = 2  # export lists, report calls
    APPROVER = 3  # decide on releases, save campaigns
    ADMINISTRATOR = 4

    @classmethod
    def named(cls, name: str) -> "Role":
        """Return a role by its name, as the tables have it."""
        return cls[name.upper()]

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Person:
    """Who asks, once signed in.

    Attributes:
        csrf: what every form of theirs must carry.
    """

    name: str
    role: Role
    csrf: str

    def may(self, role: Role) -> bool:
        """Say whether they may do what this role may; for what a page offers."""
        return self.role >= role
