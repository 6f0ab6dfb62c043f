"""The HTTP service: features, predictions and reasons of one user or a few, and what it says of its health.

It imports neither Dagster nor the training code; the statement that reads features is `churn.online.read`.
"""
