"""What is said of what is due: a sentence for each thing that went wrong, and the months that are behind.

The states themselves are worked out in due.py. The months that are behind are kept in Postgres, where the
monthly report and the API read them.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from churn.database import connect, lock
from churn.months import Month
from churn.schedule.due import STAGES, Due, Stage, State, is_behind

_LONGEST_ERROR = 300


def sentences(items: Sequence[Due]) -> list[str]:
    """Return a sentence for each thing that went wrong: what waits for it, since when, and what to do.

    Whatever waits for a run that is due or under way is in order, and not mentioned.
    """
    return list(sentences_by_root(items).values())


def sentences_by_root(items: Sequence[Due]) -> dict[tuple[Stage, Month], str]:
    """Return the same sentences by their root: the stage and month that failed, or that others wait for."""
    behind: dict[tuple[Stage, Month], list[Due]] = {}
    for item in items:
        if item.behind:
            behind.setdefault(item.behind, []).append(item)
    roots = {(item.stage, item.month): item for item in items}
    sentences_by_key = {
        key: _of_root(root, behind.get(key, [])) for key, root in roots.items() if root.is_failure
    }
    for key, waiting in behind.items():
        if key not in roots:
            sentences_by_key[key] = _waiting(waiting, _root_in_words(key, None))
    return sentences_by_key


def sentence(item: Due, items: Sequence[Due]) -> str:
    """Return a sentence that says how one stage of one month stands."""
    if item.behind:
        root = next((each for each in items if (each.stage, each.month) == item.behind), None)
        return _waiting([item], _root_in_words(item.behind, root))
    if item.is_failure:
        return _of_root(item, [])
    return f"{item.stage} of {item.month} is {item.state}"


def _of_root(root: Due, waiting: Sequence[Due]) -> str:
    if waiting:
        return _waiting(waiting, _root_in_words((root.stage, root.month), root))
    return f"{root.stage} of {root.month} {_failed(root)}"


def _waiting(waiting: Sequence[Due], root: str) -> str:
    by_stage = groupby(
        sorted(waiting, key=lambda item: (STAGES.index(item.stage), item.month)),
        key=lambda item: item.stage,
    )
    parts = [_months(stage, [item.month for item in each]) for stage, each in by_stage]
    verb = "waits" if len(waiting) == 1 else "wait"
    return f"{' and '.join(parts)} {verb} for {root}"


def _root_in_words(key: tuple[Stage, Month], root: Due | None) -> str:
    stage, month = key
    if root is None:
        return f"the drop of {month}: deliver it with `churn deliver DIR`"
    if root.is_failure:
        return f"{stage} of {month}, which {_failed(root)}"
    return f"{stage} of {month}, which is {root.state}"


def _failed(root: Due) -> str:
    times = "once" if root.failures == 1 else f"{root.failures} times"
    since = f" since {root.since:%Y-%m-%d %H:%M} UTC" if root.since else ""
    return f"failed {times}{since} ({_short(root.error)}): {_remedy(root)}"


def _remedy(root: Due) -> str:
    command = f"run `churn run --from {root.month} --to {root.month}` or re-execute it in the UI"
    if root.again_at:
        return f"it is asked for again from {root.again_at:%Y-%m-%d %H:%M} UTC on"
    if root.is_refused:
        return f"deliver a corrected drop of {root.month}, or mend the cause and {command}"
    return f"mend the cause and {command}"


def _short(error: str) -> str:
    line = " ".join(error.split()) or "no reason was recorded"
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]} ..."


def _months(stage: Stage, months: Sequence[Month]) -> str:
    """Return the months of a stage, such as `decisions of 2024-04 to 2025-06`, adjacent months as a range."""
    ranges: list[list[Month]] = []
    for month in months:
        if ranges and ranges[-1][-1].next == month:
            ranges[-1][1:] = [month]
        else:
            ranges.append([month])
    name = f"{stage}s" if stage == "decision" and len(months) > 1 else stage
    return f"{name} of {', '.join(' to '.join(map(str, ends)) for ends in ranges)}"


@dataclass(frozen=True)
class MonthBehind:
    """A stage of a month that failed or waits, as it was last kept."""

    stage: Stage
    month: Month
    state: State
    sentence: str
    since: dt.datetime


def keep_months_behind(items: Sequence[Due]) -> None:
    """Keep the stages that failed or wait, in place of those kept before, for those who show them.

    Since when is the first failure's time, its own or of what it waits for; what waits for a drop that is
    missing is behind since the first look that said so.
    """
    behind = [item for item in items if is_behind(item, items)]
    with connect() as connection:
        lock(connection, "churn.months_behind")
        rows = connection.execute("SELECT stage, month, since FROM online.months_behind").fetchall()
        earlier = {(stage, first_day): since for stage, first_day, since in rows}
        connection.execute("DELETE FROM online.months_behind")
        connection.cursor().executemany(
            "INSERT INTO online.months_behind (stage, month, state, sentence, since)"
            " VALUES (%s, %s, %s, %s, coalesce(%s, clock_timestamp()))",
            [
                (
                    item.stage,
                    item.month.first_day,
                    item.state,
                    sentence(item, items),
                    _failed_since(item, items) or earlier.get((item.stage, item.month.first_day)),
                )
                for item in behind
            ],
        )
        connection.execute(
            "INSERT INTO monitoring.looks (looked_at) VALUES (clock_timestamp())"
            " ON CONFLICT (is_only) DO UPDATE SET looked_at = excluded.looked_at"
        )


def _failed_since(item: Due, items: Sequence[Due]) -> dt.datetime | None:
    root = next((each for each in items if (each.stage, each.month) == item.behind), item)
    return root.since


def read_months_behind() -> list[MonthBehind]:
    """Return the stages that were last kept, the oldest month first."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT stage, month, state, sentence, since FROM online.months_behind"
            " ORDER BY month, stage"
        ).fetchall()
    return [MonthBehind(stage, Month(month), *rest) for stage, month, *rest in rows]
