"""The `churn` command: one module per command, Typer around the work that lives elsewhere."""
