"""The `churn` command: a module per group of commands, Typer around the work that lives elsewhere.

No module here works anything out: it asks, shows and exits.
"""
