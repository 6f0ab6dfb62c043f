"""What each month is due, and what it waits for: worked out from records, never from a clock.

Runs are started by `churn_assets.automation` on a server and by `churn_assets.batch` on the command line.
"""
