"""The online table, one wide row per user: publishing a month, and reading what was published.

Feast reads it through `feature_repo.online_store`; the API reads the same rows.
"""
