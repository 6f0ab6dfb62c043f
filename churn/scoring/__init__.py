"""What a month's users are told apart by: scores, reasons, campaigns, action lists, treatments, uplift.

What scores were worth is watched in `churn.monitoring`; scores of single users are `api.predictor`.
"""
