"""What each month brought, in Postgres: raw rows of each delivery, and snapshots of every version of a month.

Files and their acceptance are `churn.deliveries`; what models are given is `churn.lake`.
"""
