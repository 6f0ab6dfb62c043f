"""The Dagster shell: assets, checks, jobs and sensors. What they do is in `churn`; here it is wired together.

Everything starts at `definitions.py`. Dagster's concepts: https://docs.dagster.io/getting-started/concepts
"""
