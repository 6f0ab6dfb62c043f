"""Judging probabilities against labels: metrics, intervals, segments, money. Pure functions of arrays.

What is compared with what, and what follows from it, is decided in `churn.promotion` and `churn.monitoring`.
"""
