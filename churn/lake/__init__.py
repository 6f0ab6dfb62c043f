"""The lake: feature views as monthly Parquet files, and the point-in-time join over them.

Its rows come from `churn.warehouse.snapshots`. Feast's side of it is `feature_repo.offline_store`.
"""
