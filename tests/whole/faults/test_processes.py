"""Processes killed under way, two of everything at once, another zone: the same world in the end.

Each trial runs real commands on a world of its own, and most strike it several times before they compare:
each time at a random one of the events that are left of Dagster's log, from the first to the last.
"""

import os
import signal
from contextlib import suppress

import psutil
import pytest

from tests.kit.trial_world import World, assert_same, differences
from tests.kit.waiting import until
from tests.whole.faults.conftest import EVENTS, MakeWorld, Moment, Trial, Undisturbed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7_200)]
STRIKES = 3


@pytest.mark.parametrize("number", range(2))
def test_a_run_that_is_killed_again_and_again(
    number: int, moment: Moment, trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    world = new_world()
    for _ in range(STRIKES):
        command = world.run()
        was_at_work, status, _ = world.strike(command, moment(world), command.kill)
        if was_at_work and status == -signal.SIGKILL:
            trial.strike("command", "the next command names what still runs, `churn down` ends it")
        down = world.churn("down")
        assert down.returncode == 0, down.stderr
    world.run_until_it_ends_well()
    assert_same(world, undisturbed())


def test_a_machine_that_goes_down_again_and_again(
    moment: Moment, trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    world = new_world()
    for _ in range(STRIKES):
        command = world.run()
        was_at_work, status, _ = world.strike(command, moment(world), world.kill_all)
        if was_at_work and status == -signal.SIGKILL:
            trial.strike("machine", "the next command goes on")
    world.run_until_it_ends_well()
    assert_same(world, undisturbed())


def test_a_second_process_of_a_run_that_is_killed(
    moment: Moment, trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    world = new_world()
    for _ in range(STRIKES):
        command = world.run()
        killed: list[int] = []

        def kill_lane(command_id: int = command.pid, killed: list[int] = killed) -> None:
            for child in psutil.Process(command_id).children():
                if "--multiprocessing-fork" in child.cmdline():
                    killed.append(child.pid)
                    child.kill()

        _, status, output = world.strike(command, moment(world), kill_lane)
        assert "Traceback" not in output, output
        assert status == 0, output
        if killed:
            trial.strike("lane", "another one does its jobs, and the command goes on")
    assert_same(world, undisturbed())


def test_a_run_that_is_told_to_end(
    moment: Moment, trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    world = new_world()
    for _ in range(STRIKES):
        command = world.run()
        was_at_work, status, output = world.strike(command, moment(world), command.terminate)
        assert "Traceback" not in output, output
        assert world.leftovers() == []
        if was_at_work:
            assert status != 0, output
            trial.strike("terminated", "it ends in words")
    world.run_until_it_ends_well()
    assert_same(world, undisturbed())


@pytest.mark.parametrize("order", ["postgres mlflow api", "api postgres mlflow"])
def test_services_that_are_killed_under_a_run(
    order: str, moment: Moment, trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    world = new_world()
    for part in order.split():
        command = world.run()
        killed: list[int] = []

        def kill(part: str = part, killed: list[int] = killed) -> None:
            killed.append(world.pid_of(part))
            os.kill(killed[0], signal.SIGKILL)

        _, status, output = world.strike(command, moment(world), kill, part=part)
        assert "Traceback" not in output, output
        if killed:
            seen = "the command ends with 1 and says what failed" if status else "it goes on"
            trial.strike(part, seen)
    world.run_until_it_ends_well()
    assert_same(world, undisturbed())


def test_two_runs_at_once(trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed) -> None:
    world = new_world()
    assert world.churn("up").returncode == 0
    commands = [world.run() for _ in range(2)]
    trial.strike("twice", "the second waits, then finds nothing left to be done")
    ended = [world.watch(command, lambda: None) for command in commands]
    assert [status for status, _ in ended] == [0, 0], ended
    assert_same(world, undisturbed())


def test_two_ups_at_once(trial: Trial, new_world: MakeWorld) -> None:
    world = new_world()
    commands = [world.start("up") for _ in range(2)]
    ended = [world.watch(command, lambda: None) for command in commands]
    statuses = sorted(status for status, _ in ended)
    trial.strike("up twice", "the second waits" if statuses == [0, 0] else "the second is refused")
    assert statuses in ([0, 0], [0, 1]), ended
    assert all("Traceback" not in output for _, output in ended), ended
    status = world.churn("status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert world.churn("down").returncode == 0
    assert world.leftovers() == []


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_another_zone(
    zone: str, trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    world = new_world(TZ=zone)
    trial.strike("zone", "nothing")
    world.run_until_it_ends_well()
    assert_same(world, undisturbed())


def test_a_stack_whose_processes_are_killed_while_it_closes_months(
    trial: Trial, new_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    """The sensor takes the drops in; what is under way is killed, and nobody does more than `churn up`."""
    world = new_world()
    assert world.churn("up").returncode == 0
    world.drop_into_the_folder()
    for number, key in enumerate(("worker", "code server", "daemon"), start=1):
        _kill_at_work(world, key, EVENTS * number // 5)
        up = world.churn("up")
        assert up.returncode == 0, up.stdout + up.stderr
        trial.strike(key, "nothing" if key == "daemon" else "its runs are recorded as failed")
    until(lambda: not world.workers() and not differences(world, undisturbed()), 1_800)


def _kill_at_work(world: World, key: str, events: int) -> None:
    """Kill a worker, the code server with its workers, or the daemon, once runs have got so far."""

    def is_killed() -> bool:
        if world.events() < events or not (workers := world.workers()):
            return False
        struck = {
            "worker": workers[:1],
            "code server": [world.part("code"), *workers],
            "daemon": [world.part("daemon")],
        }[key]
        killed = []
        for process in struck:
            # A worker may have ended by now.
            with suppress(psutil.NoSuchProcess):
                process.kill()
                killed.append(process)
        return bool(killed)

    until(is_killed, 1_800)
