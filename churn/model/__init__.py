"""The churn model: the hold-out, the encoding, the forest, its ONNX twin, its record in MLflow."""
