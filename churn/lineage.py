"""OpenLineage: a catalogue elsewhere is told when the work on an asset's month begins, and how it ended.

Off unless CHURN_LINEAGE says so. The client is an extra of the package, and its own variables say where
events go (OPENLINEAGE_URL, or OPENLINEAGE__TRANSPORT__TYPE for a file). No event holds data or an error's
text: an asset, its month, what it was made from, how many rows it has, their fingerprint.
https://openlineage.io
"""

import datetime as dt
import functools
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from churn.contract.in_force import CONTRACT
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import get_settings

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient

LOG = logging.getLogger(__name__)
State = Literal["START", "COMPLETE", "FAIL"]
_PRODUCER = "urn:streamflow-churn"


@dataclass(frozen=True)
class LineageStep:
    """The work on one month of an asset.

    Args:
        run_id: of its record in MLflow, which has the same id here.
        asset: the asset's key; as a dataset it has the contract's name for a namespace.
        partition: the month's partition key.
        inputs: the keys of the assets that it reads.
    """

    run_id: str
    asset: str
    partition: str
    inputs: Sequence[str]


def tell_lineage(
    step: LineageStep,
    state: State,
    now: dt.datetime,
    *,
    rows: float | None = None,
    version: str = "",
) -> None:
    """Tell of the beginning or the end of a step; without CHURN_LINEAGE, do nothing.

    A catalogue that does not answer is no reason for a month to fail, so that is only logged.

    Args:
        step: the work.
        state: how it stands.
        now: the time of it.
        rows: how many rows were made, if that is known.
        version: their fingerprint.

    Raises:
        ChurnError: lineage is on, and the client is not installed.
    """
    if not get_settings().lineage:
        return
    client = _client()
    try:
        _emit(client, step, state, now, rows, version)
    except Exception as error:
        LOG.warning("the lineage of %s %s was not told: %s", step.asset, step.partition, error)


@functools.cache
def _client() -> "OpenLineageClient":
    try:
        from openlineage.client import OpenLineageClient
    except ImportError as error:
        raise ChurnError(
            "the client of OpenLineage is not installed",
            where="CHURN_LINEAGE",
            remedy="pip install 'streamflow-churn[lineage]', or unset it",
        ) from error
    return OpenLineageClient()


def _emit(
    client: "OpenLineageClient",
    step: LineageStep,
    state: State,
    now: dt.datetime,
    rows: float | None,
    version: str,
) -> None:
    from openlineage.client.event_v2 import (
        InputDataset,
        Job,
        OutputDataset,
        Run,
        RunEvent,
        RunState,
    )
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        nominal_time_run,
        output_statistics_output_dataset,
    )

    namespace, month = CONTRACT.name, Month.parse(step.partition)
    opens = dt.datetime.combine(month.first_day, dt.time(), dt.UTC)
    nominal = nominal_time_run.NominalTimeRunFacet(opens.isoformat(), month.as_of.isoformat())
    output = OutputDataset(namespace, step.asset)
    if state == "COMPLETE":
        output = OutputDataset(
            namespace,
            step.asset,
            facets={"version": dataset_version_dataset.DatasetVersionDatasetFacet(version)},
            outputFacets={
                "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                    rowCount=None if rows is None else int(rows)
                )
            },
        )
    client.emit(
        RunEvent(
            eventTime=now.isoformat(),
            producer=_PRODUCER,
            eventType=RunState(state),
            run=Run(str(uuid.UUID(step.run_id)), facets={"nominalTime": nominal}),
            job=Job(namespace, step.asset),
            inputs=[InputDataset(namespace, name) for name in step.inputs],
            outputs=[output],
        )
    )
