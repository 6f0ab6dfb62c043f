"""`churn events`: what has happened, whether it was received, and sending it again."""

import datetime as dt
import json
import uuid
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from churn.cli.progress import running
from churn.cli.screen import err, instant, out
from churn.errors import ChurnError

if TYPE_CHECKING:
    from churn.events.delivery import Progress
    from churn.events.outbox import Message
    from churn.events.targets import Target

events = typer.Typer(
    no_args_is_help=True,
    help="""What those who run the system are told, and whether a webhook, Slack or a mailbox has it.

    **Examples**

    - `churn events list`
    - `churn events replay --since 2024-03-01`
    - `churn events test`
    """,
)
_Since = Annotated[
    str | None,
    typer.Option(help="Only what was recorded since: 2024-03-01 or 2024-03-01T09:00+00:00."),
]


@events.command("list")
def list_events(
    since: _Since = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """List events, and how far each has got with each target."""
    from churn.database import connect
    from churn.events.delivery import read_progress
    from churn.events.outbox import read_events

    with running("postgres"), connect() as connection:
        listed = read_events(connection, since=_beginning(since))
        progress = read_progress(connection)
    if as_json:
        typer.echo(json.dumps({"events": [_as_json(each, progress) for each in listed]}, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("recorded", "id", "what", "delivered"):
        table.add_column(name, no_wrap=name in ("recorded", "id"), overflow="fold")
    for each in listed:
        told = [_words(one) for one in progress if one.event_id == each.event_id]
        when = f"{each.recorded_at.astimezone(dt.UTC):%Y-%m-%d %H:%M}"
        table.add_row(when, str(each.event_id), escape(each.summary), "\n".join(told))
    out().print(table if listed else "no event yet")


@events.command()
def replay(
    event: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The ids, as `list` shows them.")
    ] = None,
    since: _Since = None,
) -> None:
    """Send events again to every target, under the ids that they have; exit status 1 if one did not arrive.

    What does not arrive is sent again by the daemon, as it would be the first time.
    """
    from datetime import UTC, datetime

    from churn.database import connect
    from churn.events.delivery import deliver_due
    from churn.events.delivery import replay as wait_again
    from churn.events.outbox import read_events
    from churn.settings import get_settings

    if bool(event) == bool(since):
        raise ChurnError("which events?", remedy="name their ids, or `--since DAY`")
    ids = [_event_id(each) for each in event or []] or None
    targets = _targets()
    with running("postgres"):
        now = datetime.now(UTC)
        with connect() as connection:
            chosen = read_events(connection, since=_beginning(since), ids=ids)
            if missing := set(ids or []) - {each.event_id for each in chosen}:
                raise ChurnError(
                    f"there is no event {', '.join(map(str, missing))}", remedy="churn events list"
                )
            wait_again(connection, targets, [each.event_id for each in chosen], now)
        attempts = deliver_due(targets, get_settings().events.retry_delays, now)
    for attempt in attempts:
        out().print(escape(str(attempt)), soft_wrap=True)
    err().print(f"{len(chosen):,} events to be sent again")
    if any(attempt.problem for attempt in attempts):
        raise typer.Exit(1)


@events.command()
def test() -> None:
    """Send a message of the kind `test` to every target; exit status 1 if one does not receive it.

    Nothing is kept, and nothing is tried again.
    """
    from datetime import UTC, datetime

    from churn.events.delivery import problem_of_sending
    from churn.events.kinds import Rehearsal, data_of
    from churn.events.outbox import Message

    now = datetime.now(UTC)
    message = Message(uuid.uuid4(), Rehearsal.kind, data_of(Rehearsal()), now)
    failed = False
    for target in _targets():
        problem = problem_of_sending(target, message, now)
        failed = failed or bool(problem)
        out().print(f"{target.name}: {problem or 'delivered'}")
    if failed:
        raise typer.Exit(1)


def _targets() -> "list[Target]":
    from churn.events.targets import targets_of
    from churn.settings import get_settings

    targets = targets_of(get_settings().events)
    if not targets:
        raise ChurnError(
            "nowhere to send events to",
            where="settings",
            remedy="set CHURN_EVENTS_URL and CHURN_EVENTS_SECRET, CHURN_EVENTS_SLACK_URL or"
            " CHURN_EVENTS_MAIL_TO (docs/monitoring.md)",
        )
    return targets


def _beginning(since: str | None) -> dt.datetime | None:
    """Return the instant that is meant; of a day, its beginning."""
    if since is None:
        return None
    when = instant(since)
    is_day = "T" not in since and " " not in since
    return when.replace(hour=0, minute=0, second=0, microsecond=0) if is_day else when


def _event_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ChurnError(
            f"{text!r} is no id of an event", remedy="`churn events list` shows them"
        ) from None


def _words(progress: "Progress") -> str:
    problem = f" ({progress.problem})" if progress.problem else ""
    return escape(f"{progress.target}: {progress.state}{problem}")


def _as_json(event: "Message", progress: "list[Progress]") -> dict[str, object]:
    return {
        "id": str(event.event_id),
        "kind": event.kind,
        "recorded_at": event.recorded_at.isoformat(),
        "data": event.data,
        "targets": {
            each.target: {
                "state": each.state,
                "attempts": each.attempts,
                "problem": each.problem,
                "due_at": each.due_at.isoformat(),
            }
            for each in progress
            if each.event_id == event.event_id
        },
    }
