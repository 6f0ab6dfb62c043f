from dataclasses import replace

import pytest

from bench import backfill
from bench.core import STAGES
from bench.family import peaks_of, processor_seconds
from bench.worker import Worker
from bench.world import Sizes, World

TINY = Sizes(months=1, base_users=400, users=600, runs=1, warm_ups=0)


def quiet(text: str) -> None:
    """Say nothing."""


@pytest.mark.peers
def test_the_graph_and_its_stages_alone_come_to_the_same(world: World) -> None:
    row, stages = backfill.measure(world, replace(TINY, months=2), quiet)
    assert list(row.beside) == [backfill.ALONE]
    assert {goal.text for goal in row.goals} == {
        "elapsed beside own compute <= 1.2",
        "processor time beside theirs <= 1.2",
    }
    assert {f"s {name}" for name, _ in STAGES} == stages.more.keys()
    total = sum(stages.more[f"s {name}"].median for name in dict(STAGES))
    assert total == pytest.approx(stages.ours.median)
    assert row.beside[backfill.ALONE].median == pytest.approx(2 * stages.ours.median)


def test_what_a_process_and_its_own_cost_is_counted(world: World) -> None:
    with world.state("counted"), Worker() as worker:
        before = processor_seconds()
        with peaks_of(worker.run(backfill.pid)) as peaks:
            worker.run(burn_and_hold)
        assert processor_seconds() - before >= 0.2
    assert max(peaks.values()) >= 200


def burn_and_hold() -> int:
    import time

    held = bytearray(200 << 20)
    end = time.process_time() + 0.5
    while time.process_time() < end:
        held[:] = bytes(len(held))
    return len(held)
