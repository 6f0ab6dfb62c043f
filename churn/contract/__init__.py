"""The contract as data: a file declares tables, columns, views, services and labels, and is read here.

Nothing here touches a database or a drop: SQL made of it is `churn.database`, rules `churn.deliveries.rules`,
Feast's objects `feature_repo.streamflow`.
"""
