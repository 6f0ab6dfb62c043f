"""Training sets through Feast, as the pipeline builds them, beside plain DuckDB ASOF on the same Parquet."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.lake import fill_lake
from bench.rows import Row, Spread
from bench.worker import Say, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.features import RICH, VIEWS, View
from churn.fingerprint import fingerprint
from churn.lake import ARROW_TYPES, lake_folder
from churn.months import Month
from churn.settings import get_settings

FIRST = Month.parse("2024-01")
ASOF = "plain DuckDB ASOF"
Build = Callable[[Path], Path]  # from a file of labels to a file of labels and features


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with world.state("training", features=True) as settings:
        say(f"making {sizes.users:,} users, {sizes.months} months and a correction")
        labels = fill_lake(world.folder("training"), FIRST, sizes)
        one, every = settings.home / "one_month.parquet", settings.home / "every_month.parquet"
        pq.write_table(labels.filter(pc.equal(labels["as_of"], labels["as_of"][0])), one)
        pq.write_table(labels, every)
        return [
            _row("training set of a month, whole build", build_training_set, one, sizes, say,
                 "ours also reads the labels from Postgres, sorts, checks and fingerprints"),
            _row("training rows of every month, join alone", join_through_feast, every, sizes, say,
                 "point in time, as known then, 20 features of 6 views"),
        ]  # fmt: skip


def _row(name: str, ours: Build, labels: Path, sizes: Sizes, say: Say, note: str) -> Row:
    with Worker() as feast, Worker() as plain:
        ways = {
            "Feast": lambda: feast.time(ours, labels),
            ASOF: lambda: plain.time(join_by_asof, labels),
        }
        found = take_turns(ways, sizes, say)
        peaks = {"ours": feast.peak_mb(), ASOF: plain.peak_mb()}
    rows, others = (_content(found[way][-1].value) for way in ways)
    if rows != others:
        raise AssertionError(f"{name}: Feast and DuckDB gave different rows")
    seconds = {way: Spread.of([timed.seconds for timed in found[way]]) for way in ways}
    return Row(
        name,
        f"{rows[0]:,} rows, lake of {sizes.months} months x {sizes.users:,} users",
        seconds["Feast"],
        "s",
        beside={ASOF: seconds[ASOF]},
        peak_mb=peaks,
        note=f"{note}; Parquet to Parquet, results equal",
    )


def build_training_set(labels: Path) -> Path:
    from churn.training import dataset

    [as_of] = pq.read_table(labels, columns=["as_of"])["as_of"].unique().to_pylist()
    return dataset.build_training_set(Month.of_as_of(as_of)).path


def join_through_feast(labels: Path) -> Path:
    from feature_repo.store import open_store

    entities = pq.read_table(labels).rename_columns({"as_of": "event_timestamp"}).to_pandas()
    store = open_store()
    job = store.get_historical_features(
        entity_df=entities,
        features=store.get_feature_service(RICH.name),
        filter_by_created_timestamp=True,
    )
    joined = job.to_arrow().rename_columns({"event_timestamp": "as_of"})
    out = labels.with_name("feast.parquet")
    pq.write_table(joined, out, compression="zstd")
    return out


def join_by_asof(labels: Path) -> Path:
    import duckdb

    out = labels.with_name("asof.parquet")
    views = " ".join(_asof_join(view) for view in VIEWS)
    # The newest row known by then may be of an earlier month: that is no answer for this one.
    features = ", ".join(
        f"CASE WHEN {view.name}.as_of = l.as_of THEN {view.name}.{feature.name} END AS {feature.name}"
        for view in VIEWS
        for feature in view.features
    )
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT l.user_id, l.as_of, {features}, l.churn_label FROM '{labels}' AS l {views})"  # noqa: S608
            f" TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
        )
    return out


def _asof_join(view: View) -> str:
    files = lake_folder(view, get_settings().lake) / "*" / "*.parquet"
    return (
        f"ASOF LEFT JOIN read_parquet('{files}') AS {view.name}"
        f" ON {view.name}.user_id = l.user_id AND l.as_of >= {view.name}.known_at"
    )


def _content(path: Path) -> tuple[int, str]:
    """Return how many rows a result has, and the fingerprint of its values."""
    rows = pq.read_table(path)
    types = {f.name: ARROW_TYPES[f.dtype] for f in RICH.features}
    columns = ["user_id", *types, "churn_label"]
    values = pa.table(
        {name: rows[name].cast(types.get(name, rows[name].type)) for name in columns}
        | {"as_of": rows["as_of"].cast(pa.timestamp("us", tz="UTC"))}
    )
    return rows.num_rows, fingerprint(values, key=["user_id", "as_of"])
