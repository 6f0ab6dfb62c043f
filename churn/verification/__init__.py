"""Truths checked a second way: replayed training rows, served vectors, leaks.

The checks of Dagster that call it are in `churn_assets`; a rule for a single file or month is
`churn.deliveries.rules` or `churn.plausibility`.
"""
