"""The shell that every monthly asset shares: partitions, checks, metadata and the MLflow record.

What an asset does is a function of one month, `work(step) -> MonthResult`; nothing else of Dagster's
machinery belongs in it. Dagster's concepts: https://docs.dagster.io/guides/build/partitions-and-backfills
and https://docs.dagster.io/guides/test/asset-checks
"""

import base64
import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)

from churn.contract.structure import Table, View
from churn.errors import ChurnError
from churn.markdown import plain, table
from churn.months import Month
from churn.records import recorded
from churn.retry import backoff_seconds, is_passing
from churn.settings import Settings, get_settings
from churn_assets.resources import no_retry_in_vain


def monthly_partitions(settings: Settings) -> dg.MonthlyPartitionsDefinition:
    """Return one partition per month from CHURN_FIRST_MONTH to CHURN_LAST_MONTH (open if unset)."""
    last = settings.last_month
    return dg.MonthlyPartitionsDefinition(
        start_date=settings.first_month.partition_key,
        end_date=last.next.partition_key if last else None,
    )


MONTHS = monthly_partitions(get_settings())


_KEYS = (
    dg.TableColumn("user_id", "string", constraints=dg.TableColumnConstraints(nullable=False)),
    dg.TableColumn("as_of", "timestamp (UTC)"),
    dg.TableColumn("known_at", "timestamp (UTC)"),
    dg.TableColumn("is_withdrawn", "bool"),
)


def table_schema(table: Table, *, versioned: bool = False) -> Mapping[str, Any]:
    """Return the column schema of a raw table, or of its snapshot (`versioned`)."""
    own = [
        dg.TableColumn(
            c.name, c.kind, constraints=dg.TableColumnConstraints(nullable=not c.required)
        )
        for c in (table.values if versioned else table.columns)
    ]
    columns = [*_KEYS, *own] if versioned else own
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def view_schema(view: View) -> Mapping[str, Any]:
    """Return the column schema of a feature view, with its descriptions."""
    own = [dg.TableColumn(f.name, f.dtype, description=f.description) for f in view.features]
    return {"dagster/column_schema": dg.TableSchema(columns=[*_KEYS, *own])}


def arrow_schema(schema: pa.Schema) -> Mapping[str, Any]:
    """Return the column schema of an Arrow table."""
    columns = [dg.TableColumn(field.name, str(field.type)) for field in schema]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def preview(rows: pa.Table, count: int = 5) -> dg.MetadataValue:
    """Return the first rows as a Markdown table."""
    return preview_of_rows(rows.column_names, rows.slice(0, count).to_pylist())


def preview_of_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue:
    """Return rows of data as a Markdown table, an unknown value as an empty cell."""
    cells = (["" if value is None else plain(value) for value in row.values()] for row in rows)
    return dg.MetadataValue.md("\n".join(table(columns, cells)))


def picture(png: bytes, name: str) -> dg.MetadataValue:
    """Return a PNG as Markdown that holds the whole picture."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")


def null_counts(rows: pa.Table) -> dict[str, int]:
    """Return the number of unknown values of each column that has any."""
    counts = {name: rows[name].null_count for name in rows.column_names}
    return {name: count for name, count in counts.items() if count}


OWNER = "team:churn"
# The tag of a run that an alarm asked for.
ALARM_TAG = "churn/trigger"
STEP_RETRIES = 3


@dataclass(frozen=True)
class Check:
    """A check that an asset itself evaluates for each month."""

    name: str
    description: str
    blocking: bool = True

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """What a failure is: an error if the check is blocking, otherwise a warning."""
        return dg.AssetCheckSeverity.ERROR if self.blocking else dg.AssetCheckSeverity.WARN


@dataclass(frozen=True)
class Outcome:
    """The result of one check for one month."""

    check: str
    passed: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None


class CheckFailed(Exception):
    """A blocking check failed before anything was written: the check fails, and nothing is materialized.

    Args:
        outcome: that of the failed check.
        judged: those of all checks that were evaluated with it; by default, of that one alone.
    """

    def __init__(self, outcome: Outcome, judged: Sequence[Outcome] = ()) -> None:
        self.outcome, self.judged = outcome, judged or (outcome,)
        super().__init__(outcome.description or f"check {outcome.check} failed")


def refuse_failed(outcomes: Sequence[Outcome], checks: Iterable[Check]) -> None:
    """Raise CheckFailed for the first blocking check that failed; to be called before anything is written.

    Args:
        outcomes: the outcomes of checks on what is about to be written.
        checks: the checks to enforce.
    """
    blocking = {check.name for check in checks if check.blocking}
    for outcome in outcomes:
        if not outcome.passed and outcome.check in blocking:
            raise CheckFailed(outcome, outcomes)


@dataclass(frozen=True)
class MonthStep:
    """What the work on one month may need to know about the run around it.

    `record_id` is the MLflow run of this materialization, and `parent_record_id` that of the Dagster run.
    `alarm` is the text of the alarm that asked for this run, if one did.
    """

    month: Month
    dagster_run_id: str
    record_id: str
    parent_record_id: str
    log: Any
    alarm: str = ""


@dataclass(frozen=True)
class MonthResult:
    """The result of the work on one month."""

    rows: int
    fingerprint: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[Outcome] = ()


Work = Callable[[MonthStep], MonthResult]


def previous(name: str) -> dg.AssetDep:
    """Return the dependency on the month before of an asset; the first month has none."""
    before = dg.TimeWindowPartitionMapping(
        start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True
    )
    return dg.AssetDep(name, partition_mapping=before)


def monthly_asset(
    name: str,
    work: Work,
    *,
    group: str,
    kinds: set[str],
    deps: Sequence[str | dg.AssetDep] = (),
    checks: Sequence[Check] = (),
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    pool: str | None = None,
) -> dg.AssetsDefinition:
    """Make a monthly-partitioned asset out of a function of one month.

    Args:
        name: the asset's key.
        work: makes one month; its docstring is the asset's description in the UI.
        group: the stage of the flow that it belongs to.
        kinds: at most three technologies, shown as icons.
        deps: the keys of the assets that it reads; `previous(key)` where it reads the month before.
        checks: the checks whose outcomes `work` returns.
        description: the description in the UI, where one function makes several assets.
        metadata: metadata of the definition, such as its column schema.
        pool: the Dagster pool that limits how many run at once.
    """
    known = {check.name: check for check in checks}

    @dg.asset(
        name=name,
        group_name=group,
        kinds=kinds,
        deps=list(deps),
        owners=[OWNER],
        partitions_def=MONTHS,
        description=description or inspect.getdoc(work),
        metadata=metadata,
        pool=pool,
        required_resource_keys={"mlflow"},
        check_specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=name,
                description=check.description,
                blocking=check.blocking,
                partitions_def=MONTHS,
            )
            for check in checks
        ],
    )
    def asset(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]
        yield from _materialize(context, name, work, known)

    return asset


def _materialize(
    context: dg.AssetExecutionContext, name: str, work: Work, known: Mapping[str, Check]
) -> Iterator[Any]:
    """Make each month of the run; months that are done stay recorded if a later one fails.

    Every asset may be made again, so a failure that passes by itself is retried: the whole step, after
    seconds, then minutes. Any other failure fails at once, since retrying would only hide it.
    """
    shell = _Shell(context, name, known)
    for key in context.partition_keys:
        try:
            with no_retry_in_vain():
                result = shell.make(key, work)
        except CheckFailed as failure:
            yield from shell.failed_check(key, failure.judged)
            raise dg.Failure(str(failure), allow_retries=False) from failure
        except Exception as error:
            if is_passing(error) and context.retry_number < STEP_RETRIES:
                context.log.warning(f"{name} {key} is tried again: {error}")
                # The wait is here since Dagster's own would ignore SIGTERM and a request to end the run.
                time.sleep(backoff_seconds(context.retry_number))
                raise dg.RetryRequested(STEP_RETRIES) from error
            yield from shell.keep_finished()
            if isinstance(error, ChurnError):
                raise dg.Failure(str(error), allow_retries=False) from error
            raise
        context.add_asset_metadata(shell.metadata(result), partition_key=key)
        shell.finished[key] = result
    yield dg.MaterializeResult(asset_key=name)
    # Checks come after the materialization: the UI hides those recorded before it, as of an earlier one.
    yield from shell.evaluations()


def _tags(outcomes: Iterable[Outcome]) -> dict[str, str]:
    return {f"check.{each.check}": "passed" if each.passed else "failed" for each in outcomes}


class _Shell:
    """The bookkeeping of one step over the months that it makes."""

    def __init__(
        self, context: dg.AssetExecutionContext, name: str, known: Mapping[str, Check]
    ) -> None:
        self.context, self.name, self.known = context, name, known
        self.finished: dict[str, MonthResult] = {}
        self.is_range = len(context.partition_keys) > 1

    def make(self, key: str, work: Work) -> MonthResult:
        tracking, attempt = self.context.resources.mlflow, self.context.retry_number
        deps = self.context.assets_def.asset_deps[dg.AssetKey(self.name)]
        inputs = sorted(dep.to_user_string() for dep in deps)
        with recorded(self.name, key, tracking, attempt=attempt, inputs=inputs) as record:
            step = MonthStep(
                Month.parse(key),
                self.context.run.run_id,
                record.run_id,
                record.parent_run_id,
                self.context.log,
                self.context.run.tags.get(ALARM_TAG, ""),
            )
            try:
                result = work(step)
            except CheckFailed as failure:
                record.tags.update(_tags(failure.judged))
                raise
            record.metrics["rows"] = result.rows
            record.params["fingerprint"] = result.fingerprint
            record.tags.update(_tags(result.checks))
        return result

    def metadata(self, result: MonthResult) -> dict[str, Any]:
        return {
            "dagster/partition_row_count": result.rows,
            "fingerprint": result.fingerprint,
            **result.metadata,
        }

    def evaluations(self) -> Iterator[Any]:
        """Yield each check's result and, in a run over many months, log one evaluation per month."""
        for name, check in self.known.items():
            per_month = {
                key: outcome
                for key, result in self.finished.items()
                for outcome in result.checks
                if outcome.check == name
            }
            if self.is_range:
                for key, outcome in per_month.items():
                    self._log(key, outcome)
            failed = [key for key, outcome in per_month.items() if not outcome.passed]
            only = next(iter(per_month.values()))
            yield dg.AssetCheckResult(
                check_name=name,
                passed=not failed,
                severity=check.severity,
                metadata={"months": len(per_month)} if self.is_range else dict(only.metadata),
                description=f"failed: {', '.join(failed)}"
                if failed and self.is_range
                else only.description,
            )

    def failed_check(self, key: str, judged: Sequence[Outcome]) -> Iterator[Any]:
        """Yield the results of the checks of a month that was not written."""
        yield from self.keep_finished()
        for outcome in judged:
            if self.is_range:
                self._log(key, outcome)
            yield dg.AssetCheckResult(
                check_name=outcome.check,
                passed=outcome.passed,
                severity=self.known[outcome.check].severity,
                metadata=dict(outcome.metadata),
                description=outcome.description,
            )

    def keep_finished(self) -> Iterator[Any]:
        """Yield the materializations of the months of a range that were done before another one failed."""
        for key, result in self.finished.items():
            yield dg.AssetMaterialization(self.name, partition=key, metadata=self.metadata(result))
            for outcome in result.checks:
                self._log(key, outcome)

    def _log(self, key: str, outcome: Outcome) -> None:
        check = self.known[outcome.check]
        self.context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(self.name),
                check_name=outcome.check,
                passed=outcome.passed,
                severity=check.severity,
                metadata=dict(outcome.metadata),
                description=outcome.description,
                blocking=check.blocking,
                partition=key,
                target_materialization_data=self._materialization(key),
            )
        )

    def _materialization(self, key: str) -> Target | None:
        newest = self.context.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(self.name), asset_partitions=[key]), limit=1
        )
        for record in newest.records:
            return Target(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
        return None
