"""Judging probabilities against labels: metrics, intervals, segments, money. Pure functions of arrays."""
