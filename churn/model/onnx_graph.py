"""Parts of the ONNX graphs: inputs, one-hot columns, trees, calibration; and opening what was written."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn.model.calibration import Calibration
from churn.model.encode import Inputs
from churn.model.trees import Trees

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_OPSETS = {"": 20, "ai.onnx.ml": 5}
_IR_VERSION = 10
_ML = "ai.onnx.ml"
ENSEMBLE_NODES = 300_000  # of the trees in one operator, unless a single tree has more


def write_model(
    nodes: "Sequence[NodeProto]",
    constants: Mapping[str, npt.NDArray[Any]],
    n_categorical: int,
    n_numeric: int,
) -> bytes:
    """Return a model of these nodes.

    Inputs are `categorical` (string [N, c]) and `numeric` (float [N, n]), the output is
    `probability` (float [N, 1]).
    """
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    columns = {f"column_{at}": np.array(at, dtype=np.int64) for at in range(n_categorical)}
    graph = helper.make_graph(
        list(nodes),
        "churn",
        [
            value("categorical", TensorProto.STRING, ["N", n_categorical]),
            value("numeric", TensorProto.FLOAT, ["N", n_numeric]),
        ],
        [value("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(array, name) for name, array in {**constants, **columns}.items()],
    )
    model: ModelProto = helper.make_model(
        graph,
        producer_name="streamflow-churn",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid(*opset) for opset in _OPSETS.items()],
    )
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def open_session(onnx: bytes, threads: int = 1) -> Any:
    """Open an ONNX model for scoring; a session may be used by many threads at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def score(session: Any, inputs: Inputs) -> npt.NDArray[np.float32]:
    """Return P(churn) of each row."""
    probabilities: npt.NDArray[np.float32] = session.run(["probability"], inputs)[0]
    return probabilities[:, 0]


def one_hot(categories: Sequence[Sequence[str]]) -> "tuple[list[NodeProto], list[str]]":
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
                zeros=1,  # a category that training did not see is none of them, never an error
            ),
        ]
    return nodes, [f"one_hot_{at}" for at in range(len(categories))]


def ensemble(trees: Trees, features: str, output: str) -> "list[NodeProto]":
    """Return the nodes that add up the leaves of all trees; `base` is not in it.

    A large forest is several ensembles, which are added up at the end: each stays in the processor's cache
    while a block of rows goes through it, and opening the model needs room for one at a time.
    """
    from onnx import helper

    parts = trees.parts(ENSEMBLE_NODES)
    if len(parts) == 1:
        return [_ensemble(trees, features, output)]
    sums = [f"{output}_{at}" for at in range(len(parts))]
    nodes = [_ensemble(part, features, name) for part, name in zip(parts, sums, strict=True)]
    return [*nodes, helper.make_node("Sum", sums, [output])]


def _ensemble(trees: Trees, features: str, output: str) -> "NodeProto":
    from onnx import AttributeProto, helper, numpy_helper

    forest = _splits_and_leaves(trees)
    node = helper.make_node("TreeEnsemble", [features], [output], domain=_ML)
    # Filled by hand: make_node looks at every one of half a million values to guess a type.
    for name, values in forest.ints.items():
        ints = node.attribute.add(name=name, type=AttributeProto.INTS).ints
        ints.extend(values.astype(np.int64).tolist())
    for name, array in forest.tensors.items():
        node.attribute.add(name=name, type=AttributeProto.TENSOR).t.CopyFrom(
            numpy_helper.from_array(array, name)
        )
    for name, number in {"aggregate_function": 1, "n_targets": 1, "post_transform": 0}.items():
        node.attribute.add(name=name, type=AttributeProto.INT, i=number)  # sum, one, none
    return node


def calibrate(
    log_odds: str, calibration: Calibration, output: str
) -> "tuple[list[NodeProto], dict[str, npt.NDArray[Any]]]":
    """Return the nodes and constants from float64 log odds to the calibrated float32 probability."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Mul", [log_odds, "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "intercept"], ["calibrated"]),
        helper.make_node("Sigmoid", ["calibrated"], ["as_double"]),
        helper.make_node("Cast", ["as_double"], [output], to=TensorProto.FLOAT),
    ]
    return nodes, {
        "slope": np.array(calibration.slope),
        "intercept": np.array(calibration.intercept),
    }


def floor32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the float32 at or below each value: the same split for every float32 x."""
    rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


class _Attributes(NamedTuple):
    ints: dict[str, npt.NDArray[Any]]
    tensors: dict[str, npt.NDArray[Any]]


def _splits_and_leaves(trees: Trees) -> _Attributes:
    """Number splits and leaves apart, as the operator wants them."""
    roots, left, right, is_leaf = trees.roots, trees.left, trees.right, trees.is_leaf
    feature, threshold, missing, value = (
        trees.feature,
        trees.threshold,
        trees.missing_left,
        trees.value,
    )
    stumps = roots[is_leaf[roots]]  # a root that is a leaf: a split whose two sides are that leaf
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
            "nodes_modes": np.zeros(int(is_split.sum()), dtype=np.uint8),  # all are BRANCH_LEQ
            "nodes_splits": floor32(threshold[is_split]),
            "leaf_weights": value[is_leaf].astype(np.float32),
        },
    )
