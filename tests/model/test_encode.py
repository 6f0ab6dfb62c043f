import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.contract.in_force import BASELINE, DEFAULT_SERVICE, SERVICES
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.lake.files import ARROW_TYPES
from churn.model.encode import (
    FeatureSchema,
    model_frame,
    onnx_inputs,
    onnx_inputs_of_rows,
    onnx_inputs_of_table,
)

VALUES = {
    "String": st.one_of(st.none(), st.text(max_size=5)),
    "Bool": st.one_of(st.none(), st.booleans()),
    "Int64": st.one_of(st.none(), st.integers(0, 2**31 - 1)),
    "Float64": st.one_of(st.none(), st.floats(0, 1e8)),
    "Float32": st.one_of(st.none(), st.floats(-1e6, 1e6, width=32), st.just(-0.0)),
}
ROW = st.fixed_dictionaries({f.name: VALUES[f.dtype] for f in DEFAULT_SERVICE.features})
DTYPES = {"String": "string", "Bool": "boolean", "Int64": "Int64", "Float32": "Float32"}
DTYPES["Float64"] = "Float64"


def nullable(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            f.name: pd.array([row[f.name] for row in rows], dtype=DTYPES[f.dtype])
            for f in DEFAULT_SERVICE.features
        }
    )


@given(st.lists(ROW, min_size=1, max_size=5))
def test_frames_and_rows_become_the_same_inputs(rows: list[dict[str, object]]) -> None:
    of_rows = onnx_inputs_of_rows(rows, FeatureSchema.of(DEFAULT_SERVICE))
    for frame in (
        pd.DataFrame(rows, dtype=object),
        nullable(rows),
        model_frame(nullable(rows), DEFAULT_SERVICE),
    ):
        of_frame = onnx_inputs(frame, DEFAULT_SERVICE)
        assert of_frame["categorical"].tolist() == of_rows["categorical"].tolist()
        assert of_frame["numeric"].tobytes() == of_rows["numeric"].tobytes()
        assert of_frame["numeric"].dtype == of_rows["numeric"].dtype == np.float32


@given(st.lists(ROW, max_size=5))
def test_arrow_tables_and_rows_become_the_same_inputs(rows: list[dict[str, object]]) -> None:
    of_rows = onnx_inputs_of_rows(rows, FeatureSchema.of(DEFAULT_SERVICE))
    schema = pa.schema([(f.name, ARROW_TYPES[f.dtype]) for f in DEFAULT_SERVICE.features])
    table = pa.Table.from_pylist(rows, schema=schema)
    for each in (table, pa.concat_tables([table.slice(0, 1), table.slice(1)])):
        of_table = onnx_inputs_of_table(each, DEFAULT_SERVICE)
        assert of_table["categorical"].tolist() == of_rows["categorical"].tolist()
        assert of_table["numeric"].tobytes() == of_rows["numeric"].tobytes()


def test_unknown_is_neither_true_nor_zero(world: pd.DataFrame) -> None:
    encoded = model_frame(world, DEFAULT_SERVICE)
    unknown = world["plan_stream_tv"].isna()
    assert unknown.any()
    assert encoded.loc[unknown, "plan_stream_tv"].isna().all()
    assert encoded.loc[~unknown, "plan_stream_tv"].isin([0.0, 1.0]).all()
    assert (encoded.loc[world["net_service"].isna(), "net_service"] == "").all()
    assert encoded["add_on_backup"].isna().all()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_columns_are_the_services_in_order(service: Service, world: pd.DataFrame) -> None:
    shuffled = world[sorted(world.columns)]
    assert list(model_frame(shuffled, service).columns) == service.feature_names
    assert onnx_inputs(shuffled, service)["categorical"].shape == (
        300,
        len(service.categorical_cols),
    )


def test_encoding_twice_changes_nothing(world: pd.DataFrame) -> None:
    once = model_frame(world, DEFAULT_SERVICE)
    pd.testing.assert_frame_equal(model_frame(once, DEFAULT_SERVICE), once)


def test_no_rows_keep_their_shape(world: pd.DataFrame) -> None:
    for inputs in (onnx_inputs(world[:0], BASELINE), onnx_inputs_of_rows([], BASELINE)):
        assert [inputs["categorical"].shape[0], inputs["numeric"].shape[0]] == [0, 0]
        assert inputs["numeric"].shape == (0, 13)


def test_a_missing_column_is_named(world: pd.DataFrame) -> None:
    with pytest.raises(ChurnError, match="no column for months_active, skips_7d"):
        model_frame(world.drop(columns=["months_active", "skips_7d"]), BASELINE)
    with pytest.raises(KeyError, match="net_service"):
        onnx_inputs_of_rows([{}], BASELINE)


def test_text_in_a_number_is_named(world: pd.DataFrame) -> None:
    bad = world.assign(monthly_fee=world["monthly_fee"].astype(object))
    bad.loc[3, "monthly_fee"] = "cheap"
    with pytest.raises(ChurnError, match=r"monthly_fee: not numbers: .*cheap"):
        model_frame(bad, BASELINE)


def test_schema_reads_what_it_writes() -> None:
    schema = FeatureSchema.of(DEFAULT_SERVICE, threshold=0.4)
    assert FeatureSchema.read(schema.write()) == schema
    assert FeatureSchema.of(BASELINE).categorical_cols == ["net_service"]
