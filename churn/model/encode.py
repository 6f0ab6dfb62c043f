"""From feature rows to model input: the one encoding that training, batch scoring and the API share.

`columns_of` and `shares` go the other way: from values per encoded column to a share per feature.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from churn.arrays import Floats32
from churn.contract.in_force import service_of
from churn.contract.structure import Service
from churn.errors import ChurnError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


THRESHOLD = 0.5
# A null category, as the model sees it.
UNKNOWN = ""

Inputs = dict[str, npt.NDArray[Any]]


class Columns(Protocol):
    """What encoding needs to know of a model's columns; both Service and FeatureSchema have it."""

    @property
    def categorical_cols(self) -> list[str]:
        """The columns that are one-hot encoded, in order."""

    @property
    def numeric_cols(self) -> list[str]:
        """The columns that are passed through, in order."""


@dataclass(frozen=True)
class FeatureSchema:
    """`feature_schema.json`: what a stored model expects, and the threshold of its decisions."""

    categorical_cols: list[str]
    numeric_cols: list[str]
    service: str
    threshold: float

    @classmethod
    def of(cls, service: Service, threshold: float = THRESHOLD) -> "FeatureSchema":
        """Describe the models of `service`."""
        return cls(service.categorical_cols, service.numeric_cols, service.recorded_name, threshold)

    @classmethod
    def read(cls, text: str | bytes) -> "FeatureSchema":
        """Read the JSON text of `feature_schema.json`."""
        return cls(**json.loads(text))

    def write(self) -> str:
        """Return the JSON text of `feature_schema.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @property
    def feature_names(self) -> list[str]:
        """Every feature that the model takes."""
        return [*self.categorical_cols, *self.numeric_cols]

    def as_service(self) -> Service:
        """Return the service to read the model's own features with, whatever else the contract has.

        Raises:
            ChurnError: a feature is no longer in the contract in force, or changed between text and number.
        """
        service = service_of(self.service, self.feature_names)
        texts = {*service.categorical_cols}
        if changed := sorted(texts.symmetric_difference(self.categorical_cols)):
            raise ChurnError(
                f"{', '.join(changed)} changed between text and number since the model was fitted",
                where=f"feature schema of {self.service}",
                remedy="give the new values a column of their own in the contract",
            )
        return service


def model_frame(frame: "pd.DataFrame", service: Service) -> "pd.DataFrame":
    """Return the pipeline's input: strings with "" for null, float32 with NaN for null.

    Raises:
        ChurnError: a feature of the service is not a column of the frame, or not of its type.
    """
    return _encoded(frame, service, service.feature_names, service.versioned_name)


def categories_of(pipeline: Any) -> list[list[str]]:
    """Return the categories that a fitted pipeline one-hot encodes each categorical column to."""
    encoder = pipeline["encode"].named_transformers_["categorical"]
    return [list(map(str, known)) for known in getattr(encoder, "categories_", [])]


def onnx_inputs(frame: "pd.DataFrame", columns: Columns) -> Inputs:
    """Return the two inputs of the ONNX model for the rows of a frame, raw or encoded.

    They are `categorical` (objects, [N, c]) and `numeric` (float32, [N, n]).

    Raises:
        ChurnError: a feature is not a column of the frame, or not of its type.
    """
    categorical_cols, numeric_cols = columns.categorical_cols, columns.numeric_cols
    encoded = _encoded(frame, columns, [*categorical_cols, *numeric_cols], "feature schema")
    numeric = np.empty((len(encoded), len(numeric_cols)), dtype=np.float32)
    for at, name in enumerate(numeric_cols):
        numeric[:, at] = encoded[name].to_numpy()
    return {
        "categorical": encoded[categorical_cols].to_numpy(dtype=object),
        "numeric": numeric,
    }


def onnx_inputs_of_table(rows: "pa.Table", columns: Columns) -> Inputs:
    """Return the two inputs of the ONNX model for an Arrow table; fast for a million rows.

    Each category is one Python string, shared by all rows that have it.
    """
    categorical = np.empty((rows.num_rows, len(columns.categorical_cols)), dtype=object)
    for at, name in enumerate(columns.categorical_cols):
        coded = rows[name].combine_chunks().dictionary_encode()
        texts = np.array([*coded.dictionary.to_pylist(), UNKNOWN], dtype=object)
        categorical[:, at] = texts[coded.indices.fill_null(len(texts) - 1).to_numpy()]
    numeric = np.empty((rows.num_rows, len(columns.numeric_cols)), dtype=np.float32)
    for at, name in enumerate(columns.numeric_cols):
        # An unsafe cast rounds integers beyond 2^24, as numpy does for the API.
        numbers = rows[name].combine_chunks().cast("float32", safe=False)
        # Null becomes NaN.
        numeric[:, at] = numbers.to_numpy(zero_copy_only=False)
    return {"categorical": categorical, "numeric": numeric}


def onnx_inputs_of_rows(rows: Sequence[Mapping[str, Any]], columns: Columns) -> Inputs:
    """Return the two inputs of the ONNX model for rows of Python values; fast for a single row.

    Raises:
        KeyError: a row lacks a column. None is not lacking: it means unknown.
    """
    categorical_cols, numeric_cols = columns.categorical_cols, columns.numeric_cols
    categorical = [
        [UNKNOWN if row[name] is None else row[name] for name in categorical_cols] for row in rows
    ]
    # Told the type, numpy reads None as NaN and True as 1.
    numeric = [[row[name] for name in numeric_cols] for row in rows]
    return {
        "categorical": np.array(categorical, dtype=object).reshape(
            len(rows), len(categorical_cols)
        ),
        "numeric": np.array(numeric, dtype=np.float32).reshape(len(rows), len(numeric_cols)),
    }


def _encoded(
    frame: "pd.DataFrame", columns: Columns, names: Sequence[str], where: str
) -> "pd.DataFrame":
    import pandas as pd

    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ChurnError(
            f"no column for {', '.join(missing)}",
            where=where,
            remedy="build the rows from the views of this feature service",
        )
    categorical = set(columns.categorical_cols)
    encoded = {
        name: _strings(frame[name]) if name in categorical else _floats(frame[name])
        for name in names
    }
    return pd.DataFrame(encoded, index=frame.index)


def _strings(column: "pd.Series[Any]") -> npt.NDArray[np.object_]:
    return column.astype(object).where(column.notna(), UNKNOWN).to_numpy(dtype=object)


def _floats(column: "pd.Series[Any]") -> Floats32:
    try:
        return column.to_numpy(dtype=np.float32, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ChurnError(
            f"not numbers: {error}",
            where=str(column.name),
            remedy="keep numeric and boolean features in their types; unknown is null",
        ) from error


def columns_of(pipeline: Any, service: Service, numbers: Sequence[str]) -> list[str]:
    """Return the feature behind each encoded column of a fitted pipeline.

    Args:
        pipeline: one whose one-hot encoded categories come first.
        service: the features.
        numbers: the numeric features that follow, in their order.
    """
    known = zip(service.categorical_cols, categories_of(pipeline), strict=True)
    return [name for name, categories in known for _ in categories] + list(numbers)


def shares(values: Iterable[tuple[str, float]], service: Service | None = None) -> dict[str, float]:
    """Return each feature's share of the sum of all values, highest first.

    Args:
        values: pairs of feature and value, one for each of its columns.
        service: every feature of it is in the result, even if it has no column.
    """
    sums = dict.fromkeys(service.feature_names, 0.0) if service else {}
    for name, value in values:
        sums[name] = sums.get(name, 0.0) + float(value)
    total = sum(sums.values()) or 1.0
    return {
        name: value / total for name, value in sorted(sums.items(), key=lambda i: (-i[1], i[0]))
    }
