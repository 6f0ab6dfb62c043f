from pathlib import Path

import pytest

from bench import startup
from bench.world import Sizes, World

ONCE = Sizes(runs=1, warm_ups=0)


@pytest.mark.parametrize(("name", "module", "peer", "has_goal"), startup.IMPORTS)
def test_nothing_heavy_is_imported_where_it_is_not_used(
    name: str, module: str, peer: str, has_goal: bool
) -> None:
    loaded = startup.imported(module)
    assert module in loaded
    assert peer.split(".")[0] in loaded
    assert not loaded & set(startup.HEAVY)


@pytest.mark.peers
def test_starting_and_importing_are_measured_in_whole_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the start of the whole stack, which tests/whole/e2e/test_06_down.py has measured."""
    monkeypatch.setattr(startup, "churn_up", lambda environment, folder: 2.0)
    rows = startup.measure(World(tmp_path), ONCE, lambda text: None)
    assert [row.name for row in rows] == [
        "churn up, from stopped to ready",
        *(name for name, *_ in startup.IMPORTS),
        "churn --help",
    ]
    assert all(row.ratio for row in rows)
    assert [len(row.goals) for row in rows] == [1, 2, 1, 1, 0]
