"""Decisions in words and tables, as the UI, the command line and the model card show them."""

from typing import Any

from churn.promotion.entry import Entry

NO_RELEASE = "no release yet"


def evidence_table(entry: Entry | None) -> str:
    """Return the evidence of a decision as Markdown; a line that says so where there is none."""
    evidence = entry.evidence if entry else {}
    sides = [(who, evidence.get(who)) for who in ("challenger", "champion")]
    if not any(figures for _, figures in sides):
        return "no evidence: nobody was judged"
    lines = [
        f"{evidence['rows']:,} hold-out users of {evidence['month']}, {evidence['left']:,} of whom left;"
        f" trigger: {evidence['trigger']}",
        "",
        "| | release | version | candidate | trained on | AUC | profit per user | EMPC |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(who, figures) for who, figures in sides if figures),
    ]
    if differences := evidence["differences"]:
        lines += ["", "| difference | estimate | from | to |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {d['estimate']:+.4f} | {d['low']:+.4f} | {d['high']:+.4f} |"
            for name, d in differences.items()
        ]
    return "\n".join(lines)


def _row(who: str, figures: dict[str, Any]) -> str:
    return (
        f"| {who} | `{figures['release_id'][:12]}` | {figures['version']} | {figures['candidate']},"
        f" {figures['service']} | {figures['as_of']} | {interval(figures['auc'])}"
        f" | {interval(figures['profit'])} | {figures['empc']:.4f} |"
    )


def interval(found: dict[str, float]) -> str:
    """Return a figure with its bounds."""
    return f"{found['estimate']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def sentence(entry: Entry | None) -> str:
    """Return a decision in one line."""
    if entry is None:
        return "not taken yet"
    return f"{entry.outcome}: {'; '.join(entry.reasons)}"


def in_force(entry: Entry) -> str:
    """Return the short id of the release that an entry left in force."""
    return entry.release_id[:12] if entry.release_id else NO_RELEASE


def said_of_action(entry: Entry) -> str:
    """Return what was done by hand, in two lines."""
    release = entry.evidence["release"]
    before = entry.champion[:12] if entry.champion else "nothing"
    return (
        f"entry {entry.seq}: {entry.kind}, {before} -> {in_force(entry)} (version {release['version']},"
        f" {release['candidate']} on {release['service']}, threshold {release['threshold']:g})\n"
        f"in force from {entry.decided_for:%Y-%m-%d} on; the API serves it within five seconds"
    )
