"""The Dagster shell: assets, checks, jobs, sensors; what they do lives in churn, here it is wired.

How a table or a figure is made is not said here; and no stage of `churn` imports this, nor does `api`.
"""
