"""Models: the encoding, the kinds and the choice among them, ONNX, the record in MLflow, the backtest.

Figures and intervals are `churn.evaluation`; who is served, `churn.promotion`; reasons, `churn.scoring`.
"""
