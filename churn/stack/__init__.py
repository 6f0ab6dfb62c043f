"""The embedded stack: Postgres, MLflow, API and Dagster as local processes, kept together."""
