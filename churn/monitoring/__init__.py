"""What has changed since a release was made: drift, estimated and realised performance.

An alarm is answered by `churn_assets.automation`; figures and intervals are `churn.evaluation`.
"""
