"""The kinds of events: what each carries, the sentence that a person reads, and what makes two the same."""

import datetime as dt
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol

from churn.months import Month


class Event(Protocol):
    """Something that has happened, without anything that names a user."""

    kind: ClassVar[str]

    @property
    def same_as(self) -> str:
        """Tells it from the other events of its kind; a step that is made again gives the same."""

    @property
    def summary(self) -> str:
        """The sentence about it."""


def data_of(event: Event) -> dict[str, Any]:
    """Return what an event carries, as JSON values, its sentence first."""
    carried = fields(event)  # type: ignore[arg-type]
    return {
        "summary": event.summary,
        **{each.name: _plain(getattr(event, each.name)) for each in carried},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, Month):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class MonthClosed:
    """A month was published: its drop has gone through all checks, and is served unless a newer month is.

    A correction of the month, published later, is another event.
    """

    kind: ClassVar = "month.closed"
    month: Month
    known_at: dt.datetime
    users: int

    @property
    def same_as(self) -> str:
        """The publication."""
        return f"{self.month}:{self.known_at.astimezone(dt.UTC):%Y%m%dT%H%M%S.%f}"

    @property
    def summary(self) -> str:
        """The sentence about it."""
        return f"{self.month} is closed: {self.users:,} users are published"


@dataclass(frozen=True)
class DropRefused:
    """A drop in the watched folder was refused; nothing of it was taken in.

    `refusal` is a hash of the drop as it lies there and of what is wrong with it. What that is may name
    users, so it stands in Dagster and not here.
    """

    kind: ClassVar = "drop.refused"
    month: Month
    problems: int
    refusal: str

    @property
    def same_as(self) -> str:
        """The drop as it was, and what was wrong with it."""
        return f"{self.month}:{self.refusal}"

    @property
    def summary(self) -> str:
        """The sentence about it."""
        problems = "1 problem" if self.problems == 1 else f"{self.problems:,} problems"
        return (
            f"the drop of {self.month} was refused for {problems}, which the failed check `valid` of"
            " `users` lists in Dagster; correct its files"
        )


@dataclass(frozen=True)
class ListReady:
    """A month's action list is there; `list_id` is the fingerprint of its rows."""

    kind: ClassVar = "list.ready"
    month: Month
    list_id: str
    treated: int
    control: int

    @property
    def same_as(self) -> str:
        """The list: the same rows are the same list."""
        return f"{self.month}:{self.list_id}"

    @property
    def summary(self) -> str:
        """The sentence about it."""
        return (
            f"the action list of {self.month} is ready: {self.treated:,} users to call,"
            f" {self.control:,} to leave alone"
        )


@dataclass(frozen=True)
class _ReleaseDecided:
    """An entry of the promotion ledger that put a release into force.

    Args:
        entry: its number in the ledger.
        release_id: the release that it puts into force.
        version: its number in MLflow.
        trained_on: the month whose labels it was fitted on.
        before: the release that was in force before; None for the first one.
        decided_for: from when on it is in force, in decision time.
        decided_by: the gate, or a person, whom the ledger names.
        is_in_force: whether it is what is served now; a decision about an older month may not be.
    """

    kind: ClassVar[str]
    entry: int
    release_id: str
    version: str | None
    trained_on: Month | None
    before: str | None
    decided_for: dt.datetime
    decided_by: Literal["gate", "person"]
    is_in_force: bool

    @property
    def same_as(self) -> str:
        """The entry of the ledger."""
        return str(self.entry)

    def _sentence(self, what: str) -> str:
        who = "the gate" if self.decided_by == "gate" else "a person"
        served = (
            "" if self.is_in_force else "; a later decision stands, so it is not what is served"
        )
        return (
            f"release {self.release_id[:12]} (version {self.version}) was {what} by {who}"
            f" for {self.decided_for.astimezone(dt.UTC):%Y-%m-%d}{served}"
        )


@dataclass(frozen=True)
class ReleasePromoted(_ReleaseDecided):
    """A release was put into force, by the gate or by hand."""

    kind: ClassVar = "release.promoted"

    @property
    def summary(self) -> str:
        """The sentence about it."""
        return self._sentence("promoted")


@dataclass(frozen=True)
class ReleaseRolledBack(_ReleaseDecided):
    """The release before the one in force was restored by hand."""

    kind: ClassVar = "release.rolled_back"

    @property
    def summary(self) -> str:
        """The sentence about it."""
        return self._sentence("restored")


@dataclass(frozen=True)
class AlarmRaised:
    """Monitoring alarms about a month: features or scores have drifted, or performance is not as estimated.

    `about` names what drifted (columns, the score), or the figures that are off.
    """

    kind: ClassVar = "alarm.raised"
    alarm: Literal["drift", "performance"]
    month: Month
    release_id: str
    about: tuple[str, ...]

    @property
    def same_as(self) -> str:
        """One alarm of each kind about a month and a release, whatever is measured again."""
        return f"{self.alarm}:{self.month}:{self.release_id[:12]}"

    @property
    def summary(self) -> str:
        """The sentence about it."""
        return (
            f"{self.alarm} alarm in {self.month} about release {self.release_id[:12]}:"
            f" {', '.join(self.about)}"
        )


@dataclass(frozen=True)
class Rehearsal:
    """`churn events test` asks whether messages arrive; it is kept nowhere."""

    kind: ClassVar = "test"

    @property
    def same_as(self) -> str:
        """There is one only."""
        return ""

    @property
    def summary(self) -> str:
        """The sentence about it."""
        return "a test: messages of StreamFlow churn arrive here"


KINDS = (MonthClosed, DropRefused, ListReady, ReleasePromoted, ReleaseRolledBack, AlarmRaised)
