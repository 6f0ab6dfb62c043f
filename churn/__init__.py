"""The core: what happens to a month, as functions of tables and arrays; and what every stage leans on.

Dagster's shell is `churn_assets`, HTTP's is `api`, Feast's objects are `feature_repo`.
"""
