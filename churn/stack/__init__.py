"""The embedded stack: Postgres, MLflow, API and Dagster as local processes, kept together.

How a server runs the same parts is `docker-compose.yml`; the commands are `churn.cli.stack`.
"""
