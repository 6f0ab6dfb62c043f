"""`python -m bench.document`: puts the kept results into docs/performance.md: two tables, two pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.growth import growth_png
from bench.plot import performance_png
from bench.profile import KEPT, markdown
from bench.report import number
from churn.markdown import table

ROOT = Path(__file__).parents[1]
LATEST = Path(__file__).parent / "results" / "latest.json"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance.png"
GROWTH = ROOT / "docs" / "images" / "growth.png"
# The generated parts of the page, each between its own marks.
RESULTS, PROFILE = "results", "profile"
_HEAD = ("what", "ours", "beside", "ratio", "goal", "measured limit", "peak memory")
_MET = {True: "met", False: "**not met**"}


def read_results(path: Path = LATEST) -> list[dict[str, Any]]:
    """Return the kept results, a record per row."""
    return list(json.loads(path.read_text(encoding="utf-8")))


def results_markdown(records: Sequence[dict[str, Any]]) -> str:
    """Return the machine, the table and the notes."""
    notes = list(dict.fromkeys(record["note"] for record in records if record["note"]))
    rows = ([cell.replace("|", "\\|") for cell in _cells(record, notes)] for record in records)
    lines = [_machine(records[0]["machine"]), "", *table(_HEAD, rows), ""]
    lines += [f"{at}. {note}" for at, note in enumerate(notes, 1)]
    return "\n".join(lines)


def marks(name: str) -> tuple[str, str]:
    """Return the comments that enclose a generated part of the page."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def filled(page: str, name: str, text: str) -> str:
    """Return a page in which a text replaces what was between the marks of its part."""
    begin, end = marks(name)
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


def page_text(page: str) -> str:
    """Return the page with the kept results: the table, and where a month's seconds go."""
    page = filled(page, RESULTS, results_markdown(read_results()))
    return filled(page, PROFILE, markdown(json.loads(KEPT.read_text(encoding="utf-8"))))


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']},"
        f" load before {machine['load_before']}; Python {machine['python']}, {versions}."
    )


def _cells(record: dict[str, Any], notes: list[str]) -> list[str]:
    mark = f" ({notes.index(record['note']) + 1})" if record["note"] else ""
    spreads, unit = record["min_max"], record["unit"]
    beside = [f"{_spread(v, spreads[n])} {n}" for n, v in record["beside"].items()]
    ratios = [f"{record['ours'] / value:.3g}" for value in record["beside"].values()]
    goals = [f"{goal['text']}: {_reached(goal)}{_MET[goal['met']]}" for goal in record["goals"]]
    return [
        f"{record['name']}{mark}<br>{record['size']}",
        f"{_spread(record['ours'], spreads['ours'])} {unit}",
        "<br>".join(beside),
        "<br>".join(ratios),
        "<br>".join(goals),
        "<br>".join(f"{number(value)} {unit}, {name}" for name, value in record["limit"].items()),
        "<br>".join(f"{mb:,.0f} MB {name}" for name, mb in record["peak_mb"].items()),
    ]


def _reached(goal: dict[str, Any]) -> str:
    return "" if goal["value"] is None else f"{number(goal['value'])}, "


def _spread(median: float, ends: Sequence[float]) -> str:
    low, high = map(number, ends)
    return number(median) if low == high else f"{number(median)} ({low}-{high})"


def main() -> None:
    """Write the page and the pictures."""
    records = read_results()
    PAGE.write_text(page_text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_bytes(performance_png(records))
    GROWTH.write_bytes(growth_png(records))


if __name__ == "__main__":
    main()
