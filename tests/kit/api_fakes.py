"""The two borders of the API in memory: a store of features, and a registry with tiny ONNX models."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from onnx import TensorProto, helper

from api.champion import ModelVersion
from api.errors import NotReadyError
from api.features import NOTHING_PUBLISHED, FeatureRows, ReleaseInForce, UserRow
from churn.contract.in_force import DEFAULT_SERVICE, TABLES
from churn.contract.structure import Service
from churn.model.encode import FeatureSchema

JANUARY, FEBRUARY = dt.date(2024, 1, 31), dt.date(2024, 2, 29)
USER, LEFT, PARTIAL, NOBODY = "7590-VHVEG", "5575-GNVDE", "3668-QPYBK", "0000-NOBODY"
BY_TYPE: dict[str, Any] = {
    "Int64": 3,
    "Float32": 29.85,
    "Float64": 1234567.89,
    "Bool": True,
    "String": "DSL",
}


def values_of(service: Service) -> dict[str, Any]:
    """One value of each feature's type, and one stored null."""
    values = {feature.name: BY_TYPE[feature.dtype] for feature in service.features}
    largest = {c.name: c.maximum for table in TABLES for c in table.values if c.maximum is not None}
    numbers = {name: min(values[name], largest[name]) for name in values if name in largest}
    return values | numbers | {"plan_stream_tv": None}


@dataclass
class MemoryReader:
    newest_as_of: dt.date | None = FEBRUARY
    as_of: dict[str, dt.date] = field(
        default_factory=lambda: {USER: FEBRUARY, LEFT: JANUARY, PARTIAL: FEBRUARY}
    )
    down: bool = False
    closed: bool = False
    release: ReleaseInForce | None = None
    behind: list[str] = field(default_factory=list)
    reads: list[tuple[list[str], str]] = field(default_factory=list)

    async def read(self, user_ids: Sequence[str], service: Service) -> FeatureRows:
        if self.down:
            raise NotReadyError("store", "Postgres does not answer")
        if self.newest_as_of is None:
            raise NotReadyError("store", NOTHING_PUBLISHED)
        self.reads.append((list(user_ids), service.name))
        return FeatureRows(self.newest_as_of, [self._row(user_id, service) for user_id in user_ids])

    async def check(self) -> dt.date:
        return (await self.read([], DEFAULT_SERVICE)).newest

    async def in_force(self) -> ReleaseInForce | None:
        return self.release

    async def months_behind(self) -> list[str]:
        return self.behind

    async def close(self) -> None:
        self.closed = True

    def _row(self, user_id: str, service: Service) -> UserRow:
        views = [view.name for view in service.views]
        if user_id not in self.as_of:
            return UserRow(user_id, None, dict.fromkeys(service.feature_names), views)
        missing = ["support_agg_90d_fv"] if user_id == PARTIAL else []
        return UserRow(user_id, self.as_of[user_id], values_of(service), missing)


def constant_model(probability: float, service: Service = DEFAULT_SERVICE) -> bytes:
    """An ONNX model with the inputs of `service` that says the same of every user."""
    shape = ["N", len(service.numeric_cols)]
    nodes = [
        helper.make_node("Shape", ["numeric"], ["rows"], start=0, end=1),
        helper.make_node("Concat", ["rows", "one"], ["shape"], axis=0),
        helper.make_node("Expand", ["constant", "shape"], ["probability"]),
    ]
    categorical = ["N", len(service.categorical_cols)]
    graph = helper.make_graph(
        nodes,
        "constant",
        [
            helper.make_tensor_value_info("categorical", TensorProto.STRING, categorical),
            helper.make_tensor_value_info("numeric", TensorProto.FLOAT, shape),
        ],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [
            helper.make_tensor("constant", TensorProto.FLOAT, [1, 1], [probability]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    return bytes(model.SerializeToString())


class MemoryRegistry:
    """Versions 1, 2, ... as they are promoted."""

    def __init__(self) -> None:
        self.alias: ModelVersion | None = None
        self.files: dict[tuple[str, str], bytes] = {}
        self.down = self.closed = False
        self.downloads = 0

    def promote(
        self,
        probability: float,
        trained_on: Service = DEFAULT_SERVICE,
        threshold: float = 0.5,
        **changes: str,
    ) -> ModelVersion:
        """Register a model that says the same of everybody; `changes` falsifies its record."""
        return self.register(
            constant_model(probability, trained_on), trained_on, threshold, **changes
        )

    def register(
        self,
        onnx: bytes,
        trained_on: Service = DEFAULT_SERVICE,
        threshold: float = 0.5,
        explainer: bytes | None = None,
        **changes: str,
    ) -> ModelVersion:
        """Register one more version and give it the alias; `changes` falsifies its record."""
        number = str(int(self.alias.version) + 1 if self.alias else 1)
        version = ModelVersion(
            version=number,
            run_id=f"run{number}",
            as_of="2024-01-31",
            service=trained_on.recorded_name,
            threshold=str(threshold),
            onnx_path="onnx/model.onnx",
            onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        )
        if explainer is not None:
            sha256 = hashlib.sha256(explainer).hexdigest()
            version = replace(version, explainer_path="explainer.npz", explainer_sha256=sha256)
            self.files[version.run_id, version.explainer_path] = explainer
        self.files[version.run_id, version.onnx_path] = onnx
        schema = FeatureSchema.of(trained_on, threshold).write().encode()
        self.files[version.run_id, "feature_schema.json"] = schema
        version = replace(version, schema_sha256=hashlib.sha256(schema).hexdigest())
        self.alias = replace(version, **changes)
        return self.alias

    def champion(self) -> ModelVersion | None:
        if self.down:
            raise httpx.ConnectError("refused")
        return self.alias

    def file(self, run_id: str, path: str) -> bytes:
        self.downloads += 1
        return self.files[run_id, path]

    def close(self) -> None:
        self.closed = True
