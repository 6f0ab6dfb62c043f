"""What a month cannot be, seen beside other months: rules, judgements of deliveries, confirmations.

What a file must keep by itself is `churn.deliveries.rules`.
"""
