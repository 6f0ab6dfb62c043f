"""The small world, made once for all tests of the exporter and of what is made of its metrics."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from churn.exporter.app import exposition
from tests.kit.exporter_world import NOW, as_exporter, dagster_instance, fill, play_runs, prepared


@dataclass(frozen=True)
class World:
    """The real exposition, parsed, and Dagster's own interface to what is in it."""

    families: dict[str, Metric]
    instance: dg.DagsterInstance

    def value(self, name: str, **labels: str) -> float:
        """Return the one sample of this name and these labels."""
        [value] = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return value

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of every sample of a name."""
        return [s.labels for f in self.families.values() for s in f.samples if s.name == name]


def parsed(text: bytes) -> dict[str, Metric]:
    """Return the families of an exposition by name."""
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("watched")
    with prepared(home):
        fill(home / "inbox")
        with dagster_instance() as instance:
            play_runs(instance)
            with as_exporter():
                text = exposition(NOW)
            yield World(parsed(text), instance)
