"""What a month's users are told apart by: scores, reasons, action lists, treatments and what they brought.

What scores were worth is watched in `churn.monitoring`; scores of single users are `api.predictor`.
"""
