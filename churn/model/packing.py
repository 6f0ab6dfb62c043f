"""A model as an MLflow model folder: the baseline by skops, any other as ONNX; libraries pinned."""

import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.contract.structure import Service
from churn.model.encode import Columns

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

# The one reviewed type is the compiled tree, which is plain arrays of nodes and values. Its loader checks
# their shapes, not their meaning, so this file is for people who trust the registry. The API loads ONNX.
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
_LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "skops")


def requirements() -> list[str]:
    """Return the libraries that a stored pipeline needs, pinned to the versions that wrote it."""
    return [f"{library}=={version(library)}" for library in _LIBRARIES]


def signature(service: Service) -> "ModelSignature":
    """Return the stored pipeline's signature: it takes encoded feature rows and gives both probabilities."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    categorical = set(service.categorical_cols)
    columns = [
        ColSpec("string" if name in categorical else "float", name)
        for name in service.feature_names
    ]
    return ModelSignature(Schema(columns), Schema([TensorSpec(np.dtype(np.float64), (-1, 2))]))


def pack_pipeline(
    pipeline: Any, service: Service, folder: Path, run_id: str, model_id: str
) -> None:
    """Write the fitted pipeline as an MLflow model into `folder`, which must not exist yet.

    MLflow writes its files around an unfitted clone. The fitted pipeline then replaces it, compressed to a
    quarter of the size that MLflow would write.
    """
    import mlflow.sklearn
    from mlflow.models import Model
    from sklearn.base import clone

    mlflow.sklearn.save_model(
        clone(pipeline),
        str(folder),
        mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
        signature=signature(service),
        pip_requirements=requirements(),
        pyfunc_predict_fn="predict_proba",
        skops_trusted_types=TRUSTED_TYPES,
    )
    _write_skops(pipeline, folder / "model.skops")
    described = Model.load(str(folder))
    described.model_size_bytes = sum(file.stat().st_size for file in folder.iterdir())
    described.save(str(folder / "MLmodel"))


def _write_skops(pipeline: Any, file: Path) -> None:
    """Do what `skops.io.dump` does, except that the schema is not indented.

    A forest's schema is long, and the standard library indents in pure Python, which takes as long as the
    rest of the dump.
    """
    import orjson
    import skops
    from skops.io._utils import SaveContext, get_state

    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        context = SaveContext(zip_file=archive)
        state = get_state(pipeline, context)
        context.clear_memo()
        state |= {"protocol": context.protocol, "_skops_version": skops.__version__}
        archive.writestr("schema.json", orjson.dumps(state))


def pack_onnx(onnx: bytes, columns: Columns, folder: Path, run_id: str, model_id: str) -> None:
    """Write a calibrated model as an MLflow model of the ONNX flavour into `folder`.

    It takes `categorical` (strings) and `numeric` (float32), and gives `probability`. Nothing in it executes.
    """
    import mlflow.onnx
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnx import load_from_string

    inputs = [
        TensorSpec(np.dtype(object), (-1, len(columns.categorical_cols)), "categorical"),
        TensorSpec(np.dtype(np.float32), (-1, len(columns.numeric_cols)), "numeric"),
    ]
    output = TensorSpec(np.dtype(np.float32), (-1, 1), "probability")
    mlflow.onnx.save_model(
        load_from_string(onnx),
        str(folder),
        mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        signature=ModelSignature(Schema(inputs), Schema([output])),
        onnx_execution_providers=["CPUExecutionProvider"],
        pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime", "numpy")],
    )
