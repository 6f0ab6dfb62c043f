"""How a release holds up after it was made: drift, estimated and realised performance, alarms.

What an alarm leads to is decided in `churn_assets.automation` and `churn.promotion`.
"""
