"""The Feast repository: entity, sources, views and services, built from churn.contract."""
