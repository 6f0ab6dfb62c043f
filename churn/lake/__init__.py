"""The lake: feature views as monthly Parquet files, and the point-in-time join over them.

Its rows come from `churn.warehouse.snapshots`; Feast reads it through `feature_repo.offline_store`.
"""
