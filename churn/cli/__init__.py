"""The `churn` command: Typer around work that is done elsewhere, a module for each kind of command.

https://typer.tiangolo.com
"""
