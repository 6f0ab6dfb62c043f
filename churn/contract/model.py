"""The names under which a model is found in MLflow: by those who register it and by those who serve it."""

from churn.contract.tables import CONTRACT

REGISTERED_MODEL = f"{CONTRACT.name}_churn"
CHAMPION_ALIAS = "champion"
ONNX_PATH = "onnx/model.onnx"  # in the artifacts of a version's run
SCHEMA_PATH = "feature_schema.json"
