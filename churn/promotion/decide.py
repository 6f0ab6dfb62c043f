"""Taking decisions: one at a time, in decision time, each on what was known at its instant.

The rule that decides is `gate.py`; the evidence is measured in `measure.py`.
"""

from dataclasses import dataclass, field

import psycopg

from churn.database import connect, lock
from churn.months import Month
from churn.promotion import ledger
from churn.promotion.arrivals import months_known, read_arrivals
from churn.promotion.entry import Draft, Entry, decisions, releases_until
from churn.promotion.gate import Evidence, Verdict, judge
from churn.promotion.ledger import Release, keep_release
from churn.promotion.measure import measure, read_panel
from churn.promotion.registry import Registry, ReleaseRegistry
from churn.retry import repeat_patiently
from churn.settings import get_settings
from churn.training.dataset import read_training_set, training_set_path

GATE = "gate"


@dataclass(frozen=True)
class Waiting:
    """A decision that is due but cannot be taken yet, and what it waits for; later ones wait behind it."""

    month: Month
    for_what: str


@dataclass(frozen=True)
class Taken:
    """The entries that one call wrote, and what the next decision waits for."""

    entries: list[Entry] = field(default_factory=list)
    waiting: Waiting | None = None


def take_due_decisions(
    fresh: Month | None = None, registry: Registry | None = None, alarm: str = ""
) -> Taken:
    """Take every decision that is due, oldest first, and make what is served follow the ledger.

    A decision that was taken stands. Where it turns out that something else was known at its instant (a drop
    of history came in later, or another champion was in force), a new entry supersedes it.

    Args:
        fresh: the month that has just been materialised, whose content is compared with earlier entries.
        registry: where releases come from; MLflow's by default.
        alarm: the text of an alarm of monitoring that asks for the decision on `fresh` to be taken again.
    """
    chosen = registry or ReleaseRegistry()
    entries: list[Entry] = []
    waiting = None
    # One transaction per decision: those taken stay, whatever happens to the next one.
    while waiting is None:
        with connect() as connection:
            lock(connection, ledger.DECISIONS_LOCK)
            due = _Decider(connection, chosen, fresh, alarm).next()
            if due is None:
                break
            if isinstance(due, Waiting):
                waiting = due
            else:
                entries.append(ledger.append(connection, due))
    follow_ledger(chosen)
    return Taken(entries, waiting)


def follow_ledger(registry: Registry | None = None) -> Release | None:
    """Point the alias at the release that the ledger says is in force; safe under concurrent callers.

    Setting the alias twice does no harm, so the whole step is retried where MLflow or Postgres is being
    restarted: the entry that asks for it has been written already.
    """
    return repeat_patiently(_follow, registry)


def _follow(registry: Registry | None) -> Release | None:
    with connect() as connection:
        lock(connection, f"{ledger.DECISIONS_LOCK}.served")
        release = ledger.release_in_force(connection=connection)
        (registry or ReleaseRegistry()).serve(release)
    return release


class _Decider:
    """Finds the next decision that is due, from one reading of the ledger and the deliveries."""

    def __init__(
        self,
        connection: psycopg.Connection,
        registry: Registry,
        fresh: Month | None,
        alarm: str = "",
    ) -> None:
        self.connection, self.registry, self.fresh = connection, registry, fresh
        self.alarm = alarm
        self.entries = ledger.entries(connection)
        self.standing = decisions(self.entries)
        self.releases = ledger.releases(connection)
        arrivals = read_arrivals(connection)
        self.known = {
            each.month: each for each in months_known(arrivals, get_settings().first_month)
        }

    def next(self) -> Draft | Waiting | None:
        """Return the oldest decision that has to be taken, for the first time or again, if there is one."""
        for month in self.known:
            if not self._stands(month):
                return self._decide(month)
        return None

    def _stands(self, month: Month) -> bool:
        """Return True if the evidence of the month's entry still matches what was known at its instant."""
        entry = self.standing.get(month)
        champion = self._champion_before(month)
        if entry is None or entry.champion != (champion and champion.release_id):
            return False
        if entry.evidence["known"] != self._as_known(month, champion):
            return False
        alarm = self._alarm(month)
        if alarm and entry.evidence.get("alarm") != alarm:
            return False
        return not (entry.is_judged and self._has_new_content(month, champion, entry))

    def _has_new_content(self, month: Month, champion: Release | None, entry: Entry) -> bool:
        """Return True if the fresh month's content differs from what the entry was decided on."""
        if month == self.fresh:
            training_set = read_training_set(month)
            if training_set.fingerprint != entry.evidence["fingerprint"]:
                return True
        before = entry.evidence["challenger"]
        if before and _challenger_month(month, champion) == self.fresh:
            challenger = self.registry.challenger(self.fresh)
            return challenger is not None and challenger.fingerprint != before["fingerprint"]
        return False

    def _alarm(self, month: Month) -> str:
        """Return the alarm that asks for this month's decision, if one does."""
        return self.alarm if month == self.fresh else ""

    def _champion_before(self, month: Month) -> Release | None:
        """Return the release that is in force when this month is decided on, if there is one."""
        stack = releases_until(self.entries, month.matures_at, before=True)
        return self.releases[stack[-1]] if stack else None

    def _as_known(self, month: Month, champion: Release | None) -> dict[str, str]:
        """Return whether the months of labels and challenger were known at the decision's instant."""
        of_challenger = _challenger_month(month, champion)
        known = {
            each: self.known[each].state for each in (of_challenger, month) if each in self.known
        }
        return {str(each): state for each, state in known.items()}

    def _decide(self, month: Month) -> Draft | Waiting:
        champion = self._champion_before(month)
        if self.known[month].state == "unknown":
            return self._draft(month, champion, None, Evidence.none(month), self.known[month].why)
        if not training_set_path(month).exists():
            return Waiting(month, f"training_dataset of {month}")
        challenger = self._challenger(month, champion)
        if isinstance(challenger, Waiting):
            return challenger
        panel, settings = read_panel(month), get_settings()
        if isinstance(challenger, str):
            evidence = measure(panel, None, champion, self.registry, settings)
            return self._draft(month, champion, None, evidence, challenger)
        evidence = measure(panel, challenger, champion, self.registry, settings)
        if champion and challenger.release_id == champion.release_id:
            return self._draft(
                month, champion, challenger, evidence, "the champion is the challenger"
            )
        return self._draft(month, champion, challenger, evidence, judge(evidence, settings.gate))

    def _challenger(self, month: Month, champion: Release | None) -> Release | Waiting | str:
        """Return the release to judge, the reason why there is none, or what to wait for."""
        of_challenger = _challenger_month(month, champion)
        known = self.known.get(of_challenger)
        if known is None:
            return f"no challenger: {of_challenger} is before the first month"
        if known.state == "unknown":
            return f"no challenger: {known.why}"
        if challenger := self.registry.challenger(of_challenger):
            return challenger
        if training_set_path(of_challenger).exists() and read_panel(of_challenger).has_one_class:
            return f"no challenger: the labels of {of_challenger} are of one class"
        return Waiting(month, f"churn_model of {of_challenger}, its blocking checks passed")

    def _draft(
        self,
        month: Month,
        champion: Release | None,
        challenger: Release | None,
        evidence: Evidence,
        judgement: Verdict | str,
    ) -> Draft:
        verdict = Verdict(False, "none", (judgement,)) if isinstance(judgement, str) else judgement
        superseded, alarm = self.standing.get(month), self._alarm(month)
        reasons = verdict.reasons
        if alarm:
            reasons = (f"an alarm asked for it: {alarm}", *reasons)
        elif superseded:
            again = f"decided again: what was known on {month.matures_at:%F} is not what entry"
            reasons = (f"{again} {superseded.seq} rests on", *reasons)
        in_force = challenger if verdict.is_promoted else champion
        if verdict.is_promoted and challenger:
            keep_release(self.connection, challenger)
        return Draft(
            kind="decision",
            outcome="promote" if verdict.is_promoted else "keep",
            decided_for=month.matures_at,
            month=month,
            champion=champion.release_id if champion else None,
            challenger=challenger.release_id if challenger else None,
            release_id=in_force.release_id if in_force else None,
            reasons=reasons,
            actor=GATE,
            evidence={
                **evidence.as_json(),
                **({"trigger": "alarm", "alarm": alarm} if alarm else {}),
                "known": self._as_known(month, champion),
                "rule": verdict.rule,
                "gate": get_settings().gate.model_dump(),
                "campaign": get_settings().campaign.model_dump(),
            },
            supersedes=superseded.seq if superseded else None,
        )


def _challenger_month(month: Month, champion: Release | None) -> Month:
    """Return whose challenger is judged: the month's own for a first release, else the month before's."""
    return month.shift(-1) if champion else month
