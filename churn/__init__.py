"""The pure core and the platform of StreamFlow churn; Dagster's shell is churn_assets, HTTP's is api."""
