"""The Dagster shell: assets, checks, jobs, sensors; what they do lives in churn, here it is wired."""
