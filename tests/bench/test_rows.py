import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.machine import describe_machine
from bench.report import header, table, write_json
from bench.rows import Row, Spread, at_least, at_most
from bench.worker import take_turns
from bench.world import Sizes

ROW = Row(
    "join",
    "10 rows",
    Spread.of([3.0, 1.0, 2.0]),
    "s",
    beside={"peer": Spread.of([4.0])},
    goals=[at_most("ratio to peer", 0.5, 1.0), at_least("rows/s", 5, 10)],
    limit={"bare loop": 1.5},
    note="equal results",
)


def test_a_spread_is_the_median_between_smallest_and_largest() -> None:
    assert Spread.of([3.0, 1.0, 2.5]) == Spread(2.5, 1.0, 3.0)


def test_a_row_is_set_beside_its_first_peer() -> None:
    assert ROW.ratio == 0.5
    assert Row("stage", "10 rows", Spread.of([1.0]), "s").ratio is None


def test_a_row_is_met_when_every_goal_is() -> None:
    assert ROW.met is False
    assert replace(ROW, goals=ROW.goals[:1]).met is True
    assert replace(ROW, goals=()).met is None
    assert ROW.goal == "ratio to peer <= 1, rows/s >= 10"


def test_ways_take_turns_after_one_warm_up_each() -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) or len(calls) for name in ("a", "b")}
    results = take_turns(ways, Sizes(runs=2), say=lambda text: None)
    assert calls == ["a", "b"] * 3
    assert results == {"a": [3, 5], "b": [4, 6]}


def test_the_table_and_the_file_say_the_same(tmp_path: Path) -> None:
    console = Console(record=True, width=160, file=(tmp_path / "out").open("w"))
    console.print(table([ROW]))
    shown = console.export_text()
    for text in ("0.50", "join [1]", "2 (1-3) s", "4 peer", "[1] equal results", "limit 1.5"):
        assert text in shown
    write_json([ROW], describe_machine(), tmp_path / "deep" / "rows.json")
    [record] = json.loads((tmp_path / "deep" / "rows.json").read_text())
    assert (record["ours"], record["beside"], record["ratio"]) == (2.0, {"peer": 4.0}, 0.5)
    assert record["min_max"] == {"ours": [1.0, 3.0], "peer": [4.0, 4.0]}
    assert (record["goal"], record["met"], record["limit"]) == (ROW.goal, False, {"bare loop": 1.5})
    assert record["machine"]["versions"]["feast"]


def test_the_header_names_machine_and_versions() -> None:
    console = Console(record=True, width=160, quiet=False)
    console.print(header(describe_machine()))
    shown = console.export_text()
    assert "cores" in shown
    assert "scikit-learn" in shown
