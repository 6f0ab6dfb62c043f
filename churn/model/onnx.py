"""ONNX: writing a model of any kind, opening the file, and scoring many rows with it.

The file is written from plain arrays. The general converters take seconds for a forest of full trees, and
round thresholds to the nearest float32, which moves rows across splits. Nothing in the file executes. Batch
scoring uses the very file that the API serves, and gives the same bits. The operators:
https://onnx.ai/onnx/operators
"""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn.arrays import Floats, Floats32, Ints
from churn.errors import ChurnError
from churn.model.arrays import EDGE, Additive, Calibration, TreeModel, Trees
from churn.model.encode import Columns, Inputs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


# How far an ONNX file's probabilities may be from those of the pipeline that it was written from.
TOLERANCE = 1e-5
# The nodes in one operator, unless a single tree has more.
ENSEMBLE_NODES = 300_000
_OPSETS = {"": 20, "ai.onnx.ml": 5}
_IR_VERSION = 10
_ML = "ai.onnx.ml"

_Constants = dict[str, npt.NDArray[Any]]


class DifferentModel(ChurnError):
    """The ONNX model does not give the probabilities of the pipeline."""

    def __init__(self, difference: float, where: str) -> None:
        super().__init__(
            f"the ONNX model is off by {difference:.2g} on the hold-out, {TOLERANCE:g} is allowed",
            where=where,
            remedy="nothing was registered; look at churn/model/onnx.py",
        )
        self.difference = difference


def write_onnx(
    model: TreeModel | Additive, columns: Columns, calibration: Calibration | None
) -> bytes:
    """Return a model as ONNX; the same model gives the same bytes.

    Inputs are `categorical` (string [N, c]) and `numeric` (float [N, n]), the output is
    `probability` (float [N, 1]).

    Args:
        model: the fitted pipeline in plain arrays.
        columns: the model's columns, in the order of the inputs.
        calibration: from log odds to probability. None: a forest's share of votes is the probability.

    Raises:
        ChurnError: there is no calibration, and the model's score is not a share of votes.
    """
    nodes, encoded = _one_hot(model.categories)
    if calibration is None:
        parts = _share_as_it_is(model, encoded)
        return _serialized([*nodes, *parts.nodes], parts.constants, columns)
    parts = _curves(model, encoded) if isinstance(model, Additive) else _log_odds(model, encoded)
    end = _calibrated(parts.output, calibration)
    constants = {**parts.constants, **end.constants}
    return _serialized([*nodes, *parts.nodes, *end.nodes], constants, columns)


def open_session(onnx: bytes, threads: int = 1) -> Any:
    """Open an ONNX model for scoring; a session may be used by many threads at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def score(session: Any, inputs: Inputs) -> Floats32:
    """Return P(churn) of each row, [N]."""
    probabilities: Floats32 = session.run(["probability"], inputs)[0]
    return probabilities[:, 0]


def floor32(values: Floats) -> Floats32:
    """Return the largest float32 at or below each value: `x <= value` stays the same for every float32 x."""
    rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


class _Part(NamedTuple):
    """Some nodes of a graph, their constants, and the name of their output."""

    nodes: "list[NodeProto]"
    constants: _Constants
    output: str


def _serialized(
    nodes: "Sequence[NodeProto]", constants: Mapping[str, npt.NDArray[Any]], columns: Columns
) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    n_categorical, n_numeric = len(columns.categorical_cols), len(columns.numeric_cols)
    value = helper.make_tensor_value_info
    numbers = {f"column_{at}": np.array(at, dtype=np.int64) for at in range(n_categorical)}
    graph = helper.make_graph(
        list(nodes),
        "churn",
        [
            value("categorical", TensorProto.STRING, ["N", n_categorical]),
            value("numeric", TensorProto.FLOAT, ["N", n_numeric]),
        ],
        [value("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(array, name) for name, array in {**constants, **numbers}.items()],
    )
    model: ModelProto = helper.make_model(
        graph,
        producer_name="streamflow-churn",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid(*opset) for opset in _OPSETS.items()],
    )
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _one_hot(categories: Sequence[Sequence[str]]) -> "tuple[list[NodeProto], list[str]]":
    """Return the nodes that one-hot encode `categorical`, and the names of their outputs, in order."""
    from onnx import helper

    nodes: list[NodeProto] = []
    for at, known in enumerate(categories):
        nodes += [
            helper.make_node("Gather", ["categorical", f"column_{at}"], [f"category_{at}"], axis=1),
            helper.make_node(
                "OneHotEncoder",
                [f"category_{at}"],
                [f"one_hot_{at}"],
                domain=_ML,
                cats_strings=list(known),
                # A category that training did not see is all zeros, not an error.
                zeros=1,
            ),
        ]
    return nodes, [f"one_hot_{at}" for at in range(len(categories))]


def _share_as_it_is(model: TreeModel | Additive, encoded: Sequence[str]) -> _Part:
    from onnx import helper

    if isinstance(model, Additive) or not model.is_share:
        raise ChurnError("log odds are no probabilities without a calibration", where="ONNX")
    nodes = [
        *_sum_of_trees(model.trees, encoded),
        # 300 rounded weights may add up to a hair more than 1.
        helper.make_node("Clip", ["sum", "zero", "one"], ["probability"]),
    ]
    bounds: _Constants = {"zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
    return _Part(nodes, bounds, "probability")


def _log_odds(model: TreeModel, encoded: Sequence[str]) -> _Part:
    from onnx import TensorProto, helper

    nodes = [
        *_sum_of_trees(model.trees, encoded),
        helper.make_node("Cast", ["sum"], ["sum_double"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["sum_double", "base"], ["raw"]),
    ]
    constants: _Constants = {"base": np.array(model.trees.base)}
    if not model.is_share:
        return _Part(nodes, constants, "raw")
    nodes += [
        helper.make_node("Max", ["raw", "edge"], ["above"]),
        helper.make_node("Min", ["above", "far_edge"], ["share"]),
        helper.make_node("Sub", ["one", "share"], ["rest"]),
        helper.make_node("Div", ["share", "rest"], ["odds"]),
        helper.make_node("Log", ["odds"], ["log_odds"]),
    ]
    constants |= {"edge": np.array(EDGE), "far_edge": np.array(1 - EDGE), "one": np.array(1.0)}
    return _Part(nodes, constants, "log_odds")


def _curves(model: Additive, encoded: Sequence[str]) -> _Part:
    from onnx import TensorProto, helper

    def double(name: str) -> "NodeProto":
        return helper.make_node("Cast", [name], [f"{name}_double"], to=TensorProto.DOUBLE)

    nodes: list[NodeProto] = []
    constants: _Constants = {"bias": np.array(model.intercept)}
    terms = ["bias"]
    for at, (name, weights) in enumerate(zip(encoded, model.category_weights, strict=True)):
        constants[f"weights_{at}"] = weights[:, None]
        product = [f"{name}_double", f"weights_{at}"]
        nodes += [double(name), helper.make_node("MatMul", product, [f"term_{at}"])]
        terms.append(f"term_{at}")
    if len(model.fill):
        constants |= {
            "fill": model.fill[None],
            "weight": model.weight[:, None],
            "unknown_weight": model.unknown_weight[:, None],
        }
        nodes += [
            double("numeric"),
            helper.make_node("IsNaN", ["numeric_double"], ["unknown"]),
            helper.make_node("Where", ["unknown", "fill", "numeric_double"], ["filled"]),
            double("unknown"),
            helper.make_node("MatMul", ["filled", "weight"], ["lines"]),
            helper.make_node("MatMul", ["unknown_double", "unknown_weight"], ["unknowns"]),
        ]
        terms += ["lines", "unknowns"]
    if len(model.hinge_column):
        constants |= {
            "hinge_column": model.hinge_column,
            "hinge_knot": model.hinge_knot[None],
            "hinge_weight": model.hinge_weight[:, None],
            "none": np.array(0.0),
        }
        nodes += [
            helper.make_node("Gather", ["filled", "hinge_column"], ["bent"], axis=1),
            helper.make_node("Sub", ["bent", "hinge_knot"], ["over"]),
            helper.make_node("Max", ["over", "none"], ["excess"]),
            helper.make_node("MatMul", ["excess", "hinge_weight"], ["hinges"]),
        ]
        terms.append("hinges")
    nodes.append(helper.make_node("Sum", terms, ["log_odds"]))
    return _Part(nodes, constants, "log_odds")


def _calibrated(log_odds: str, calibration: Calibration) -> _Part:
    """Return the part that turns float64 log odds into float32 probabilities."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Mul", [log_odds, "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "intercept"], ["calibrated"]),
        helper.make_node("Sigmoid", ["calibrated"], ["as_double"]),
        helper.make_node("Cast", ["as_double"], ["probability"], to=TensorProto.FLOAT),
    ]
    constants: _Constants = {
        "slope": np.array(calibration.slope),
        "intercept": np.array(calibration.intercept),
    }
    return _Part(nodes, constants, "probability")


def _sum_of_trees(trees: Trees, encoded: Sequence[str]) -> "list[NodeProto]":
    """Return the nodes that add up the leaves of all trees to `sum`, without the base.

    A large forest becomes several ensembles, added up at the end: each stays in the processor's cache while
    a block of rows passes through it, and opening the model needs memory for one at a time.
    """
    from onnx import helper

    nodes = [helper.make_node("Concat", [*encoded, "numeric"], ["features"], axis=1)]
    parts = trees.parts(ENSEMBLE_NODES)
    if len(parts) == 1:
        return [*nodes, _ensemble(trees, "features", "sum")]
    sums = [f"sum_{at}" for at in range(len(parts))]
    nodes += [_ensemble(part, "features", name) for part, name in zip(parts, sums, strict=True)]
    return [*nodes, helper.make_node("Sum", sums, ["sum"])]


def _ensemble(trees: Trees, features: str, output: str) -> "NodeProto":
    from onnx import AttributeProto, helper, numpy_helper

    forest = _splits_and_leaves(trees)
    node = helper.make_node("TreeEnsemble", [features], [output], domain=_ML)
    # Filled in by hand, since make_node would look at each of half a million values to guess a type.
    for name, values in forest.ints.items():
        ints = node.attribute.add(name=name, type=AttributeProto.INTS).ints
        ints.extend(values.astype(np.int64).tolist())
    for name, array in forest.tensors.items():
        node.attribute.add(name=name, type=AttributeProto.TENSOR).t.CopyFrom(
            numpy_helper.from_array(array, name)
        )
    # The leaves are summed (1), for one target, without a transformation (0).
    for name, number in {"aggregate_function": 1, "n_targets": 1, "post_transform": 0}.items():
        node.attribute.add(name=name, type=AttributeProto.INT, i=number)
    return node


class _Attributes(NamedTuple):
    ints: dict[str, npt.NDArray[Any]]
    tensors: dict[str, npt.NDArray[Any]]


def _splits_and_leaves(trees: Trees) -> _Attributes:
    """Number splits and leaves separately, as the operator wants them."""
    roots, left, right, is_leaf = trees.roots, trees.left, trees.right, trees.is_leaf
    feature, threshold, missing, value = (
        trees.feature,
        trees.threshold,
        trees.missing_left,
        trees.value,
    )
    # A root that is a leaf becomes a split, both sides of which are that leaf.
    stumps = roots[is_leaf[roots]]
    if len(stumps):
        roots = roots.copy()
        roots[is_leaf[roots]] = len(left) + np.arange(len(stumps))
        zeros = np.zeros(len(stumps))
        left, right = np.append(left, stumps), np.append(right, stumps)
        feature, threshold = np.append(feature, zeros), np.append(threshold, zeros)
        missing, value = np.append(missing, zeros), np.append(value, zeros)
        is_leaf = np.append(is_leaf, zeros.astype(bool))
    is_split = ~is_leaf
    at = np.where(is_leaf, is_leaf.cumsum() - 1, is_split.cumsum() - 1)
    left, right = left[is_split], right[is_split]
    return _Attributes(
        ints={
            "nodes_featureids": feature[is_split],
            "nodes_missing_value_tracks_true": missing[is_split],
            "nodes_truenodeids": at[left],
            "nodes_trueleafs": is_leaf[left],
            "nodes_falsenodeids": at[right],
            "nodes_falseleafs": is_leaf[right],
            "leaf_targetids": np.zeros(int(is_leaf.sum())),
            "tree_roots": at[roots],
        },
        tensors={
            # Every split is BRANCH_LEQ.
            "nodes_modes": np.zeros(int(is_split.sum()), dtype=np.uint8),
            "nodes_splits": floor32(threshold[is_split]),
            "leaf_weights": value[is_leaf].astype(np.float32),
        },
    )


# The intermediate results of a block this large stay in the processor's cache.
BLOCK_ROWS = 4_096


def score_in_blocks(session: Any, inputs: Inputs, threads: int) -> Floats32:
    """Return P(churn) of each row, [N], with the same bits as if it were scored alone.

    Similar rows are scored one after another: they take the same branches in the trees, which the processor
    then predicts and has in its cache. Threads share out the blocks, never the trees of a row, whose votes
    would then add up in another order.

    Args:
        session: opened with one thread; many threads may use it at once.
        inputs: the encoded rows.
        threads: how many blocks are scored at a time.
    """
    order = _alike(inputs)
    probabilities = np.empty(len(order), dtype=np.float32)

    def fill(rows: Ints) -> None:
        block: Inputs = {name: values[rows] for name, values in inputs.items()}
        probabilities[rows] = score(session, block)

    blocks = (order[at : at + BLOCK_ROWS] for at in itertools.count(0, BLOCK_ROWS))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, itertools.takewhile(len, blocks)))
    return probabilities


def _alike(inputs: Inputs) -> Ints:
    """Return the rows ordered by the first two numbers, tenure and fee, which trees split on most."""
    leading = inputs["numeric"].T[:2]
    return np.lexsort(leading[::-1]) if len(leading) else np.arange(len(inputs["categorical"]))
