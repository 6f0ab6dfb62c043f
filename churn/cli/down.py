"""`churn down`: stop everything of the state folder."""

from churn.cli.screen import err, stack_progress


def down() -> None:
    """Stop the stack: Dagster first, Postgres last; no process and no open port stays behind.

    Runs that are under way are cancelled. What a killed command left behind is stopped too, and a
    `churn demo` or `churn run` at work on this state folder is told to end. The data stay.

    **Examples**

    - `churn down`
    - `CHURN_HOME=/srv/churn churn down`
    """
    from churn.stack.supervisor import down as stop_all

    with stack_progress() as report:
        stopped = stop_all(report)
    err().print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
