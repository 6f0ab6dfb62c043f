"""StreamFlow churn, without its shells: churn_assets puts it into Dagster, and api serves it over HTTP."""
