"""The embedded stack: Postgres, MLflow, the API and Dagster as local processes, started and stopped together.

On a server, `docker-compose.yml` does the same. The databases themselves are made ready by `churn.database`.
"""
