"""The fault catalogue: what may go wrong, and what is promised of it. docs/reliability.md keeps its table."""

from dataclasses import dataclass, field


@dataclass
class Promise:
    """One kind of fault, and how often this suite planted it.

    Attributes:
        name: what is done to the system.
        promise: what has to be so in the end.
        tried: how often it was planted.
        kept: how often the promise was kept.
        seen: what a person saw of it, and how often.
    """

    name: str
    promise: str
    tried: int = 0
    kept: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def add(self, seen: str, *, is_kept: bool) -> None:
        """Count one more of it."""
        self.tried += 1
        self.kept += is_kept
        self.seen[seen] = self.seen.get(seen, 0) + 1

    @property
    def row(self) -> str:
        """One line of the table."""
        seen = "; ".join(f"{words} ({count})" for words, count in sorted(self.seen.items()))
        return f"| {self.name} | {self.promise} | {seen} | {self.tried} | {self.kept} |"


# The outcome: ledger, publications, scores, lists, monitoring, lake and training sets, bit for bit.
SAME = "run again, it ends well; the outcome is that of the undisturbed world"
BY_ITSELF = (
    "`churn up` starts what died, the sensor asks for the months again; the outcome is the same"
)
TAKEN_LATER = "nothing is taken in, and words say why; afterwards it is"
CATALOGUE = {
    "command": Promise("`kill -9` of `churn run`", SAME),
    "lane": Promise("`kill -9` of the second process of `churn run`", SAME),
    "machine": Promise("`kill -9` of everything at once, as when a machine goes down", SAME),
    "terminated": Promise("SIGTERM to `churn run`", f"it ends, and leaves no process; {SAME}"),
    "postgres": Promise("`kill -9` of Postgres under a `churn run`", SAME),
    "mlflow": Promise("`kill -9` of MLflow's server under a `churn run`", SAME),
    "api": Promise("`kill -9` of the API under a `churn run`", SAME),
    "connections": Promise(
        "2 % of the connections to Postgres, of the requests to MLflow drop", SAME
    ),
    "twice": Promise(
        "two `churn run` of the same drops at once", "both end well; the same outcome"
    ),
    "up twice": Promise("two `churn up` at once", "one whole stack, which `churn down` ends"),
    "zone": Promise("the machine's zone is UTC+14, or UTC-11", "the outcome is the same"),
    "disk full": Promise("the disk is full while a drop is taken in", TAKEN_LATER),
    "read-only": Promise("the disk is read-only while a drop is taken in", TAKEN_LATER),
    "worker": Promise("`kill -9` of a run worker of the stack", BY_ITSELF),
    "code server": Promise("`kill -9` of the code server and all its workers", BY_ITSELF),
    "daemon": Promise("`kill -9` of the daemon while months are worked on", BY_ITSELF),
    "planted": Promise(
        "one failure in each job and in every asset, over three months, runs in random order",
        "asked for again until nothing is due; the outcome is the same",
    ),
}


def table() -> str:
    """Return the faults that were tried, as Markdown."""
    head = ["| fault | promise | seen on the way | tried | kept |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(fault.row for fault in CATALOGUE.values() if fault.tried)])
