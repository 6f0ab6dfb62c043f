"""What a month cannot be, seen beside other months: rules, judgements of deliveries, confirmations."""
