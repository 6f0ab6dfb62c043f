"""Training sets: matured labels joined to features as they were known, through Feast.

How features are joined is `churn.lake.point_in_time`; what is fitted on a set, `churn.model`.
"""
