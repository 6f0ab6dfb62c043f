"""What Prometheus is told of the pipeline: months, drops, runs, the release in force, drift, daemons.

Read from the records that the work itself leaves in Postgres; nothing is counted here, so a restart forgets
nothing. What an alert makes of the figures stands in `monitoring/`, and what each means in
docs/monitoring.md. The API counts its own requests (api/metrics.py). No label names a user.
"""
