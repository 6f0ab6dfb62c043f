import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import bench.__main__ as bench
from bench.rows import Row, Spread
from bench.worker import Say
from bench.world import Sizes, World


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def broken(world: World, sizes: Sizes, say: Say) -> list[Row]:
    raise AssertionError("two ways came to different results")


def measured(world: World, sizes: Sizes, say: Say) -> list[Row]:
    return [Row("a row", f"{sizes.users} users", Spread.of([1.0]), "s")]


def test_a_section_that_fails_costs_no_other_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SECTIONS", {"broken": broken, "measured": measured})
    kept = tmp_path / "kept.json"
    with pytest.raises(typer.Exit) as ended:
        bench.main(users=100, json_file=kept)
    assert ended.value.exit_code == 1
    assert [row["name"] for row in json.loads(kept.read_text())] == ["a row"]
    output = capsys.readouterr()
    assert "two ways came to different results" in output.err
    assert "not measured: broken" in output.out


def test_rows_that_are_not_measured_again_may_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SECTIONS", {"measured": measured})
    monkeypatch.setattr(bench, "World", contextlib.nullcontext)  # `measured` asks for none
    kept = tmp_path / "kept.json"
    for users, add in ((100, False), (200, True), (100, True)):
        bench.main(users=users, json_file=kept, add=add)
    assert [row["size"] for row in json.loads(kept.read_text())] == ["100 users", "200 users"]
    bench.main(users=200, json_file=kept)
    assert [row["size"] for row in json.loads(kept.read_text())] == ["200 users"]
