"""Networks that drop connections, disks that are full or read-only: the long part of the fault catalogue."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from churn.stack.postgres import EmbeddedPostgres
from tests.kit.commands import environment
from tests.kit.dropping_proxy import dropping
from tests.kit.servers import mlflow_server
from tests.kit.trial_world import World, assert_same
from tests.whole.faults.conftest import TOLD, MakeWorld, Trial, Undisturbed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7_200)]
SHARE = 0.02


def test_connections_that_are_dropped(
    trial: Trial, undisturbed: Undisturbed, prepared: Path, tmp_path: Path
) -> None:
    drops = prepared / "drops"
    for folder in ("postgres", "mlflow"):
        (tmp_path / folder).mkdir()
    with (
        EmbeddedPostgres(tmp_path / "postgres", durable=False) as server,
        mlflow_server(tmp_path / "mlflow") as url,
        dropping(int(server.environment["POSTGRES_PORT"]), SHARE, per_request=False) as postgres,
        dropping(int(url.rpartition(":")[2]), SHARE, per_request=True) as mlflow,
    ):
        direct = {**environment(tmp_path / "home", **TOLD), **server.environment}
        direct["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{mlflow[0]}"
        assert World(direct, drops).churn("init").returncode == 0
        world = World({**direct, "POSTGRES_PORT": str(postgres[0])}, drops)
        runs = world.run_until_it_ends_well(most=5)
        for _ in range(postgres[1].dropped + mlflow[1].dropped):
            trial.strike("connections", f"nothing, or a job is run again: {runs} `churn run`")
        assert postgres[1].dropped
        assert mlflow[1].dropped
        # What is compared is read by the way that nobody disturbs.
        assert_same(World(direct, drops), undisturbed())


@pytest.mark.parametrize(("key", "options"), [("disk full", "size=8k"), ("read-only", "ro")])
def test_a_disk_that_takes_nothing(
    key: str, options: str, trial: Trial, new_world: MakeWorld
) -> None:
    world = new_world()
    store = world.home / "deliveries"
    store.mkdir(exist_ok=True)
    drop = str(sorted(world.drops.glob("month_*"))[0])
    with mounted(store, options):
        refused = world.churn("deliver", drop)
    trial.strike(key, "`churn deliver` ends with 1 and names the folder")
    words = refused.stdout + refused.stderr
    assert refused.returncode == 1, words
    assert "Traceback" not in words
    assert str(store) in words
    taken = world.churn("deliver", drop)
    assert taken.returncode == 0, taken.stdout + taken.stderr


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Put a small file system over a folder; only root may, and not in every container."""
    command = ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mount = subprocess.run(command, capture_output=True, text=True, check=False)
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)
