"""The churn model: hold-out, encoding, kinds of model, calibration, the ONNX file, the record in MLflow.

What a training set holds is `churn.training`; which model serves is decided in `churn.promotion`; scoring a
month and explaining its scores is `churn.scoring`.
"""
