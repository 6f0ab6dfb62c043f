"""The online table, one wide row per user: publishing a month, and reading what is published.

Feast's side of it is `feature_repo.online_store`; the API reads the same rows.
"""
