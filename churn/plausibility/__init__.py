"""Whether a month is possible beside other months: rules, judgements of deliveries, confirmations."""
