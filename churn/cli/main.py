"""The `churn` command: every command is registered here, under the heading that `churn --help` shows."""

import typer

from churn.cli.campaigns import campaign
from churn.cli.contract import contract, new
from churn.cli.decisions import ledger, promote, rollback
from churn.cli.deliver import confirm, deliver
from churn.cli.demo import demo
from churn.cli.events import events
from churn.cli.forget import forget
from churn.cli.keys import key
from churn.cli.metrics import metrics
from churn.cli.people import console, person
from churn.cli.population import generate, simulate
from churn.cli.run import run, train
from churn.cli.scores import actions, predict, treatments
from churn.cli.screen import ChurnGroup
from churn.cli.stack import down, feast, init, status, up

app = typer.Typer(
    name="churn",
    cls=ChurnGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    add_completion=False,
    help="""From a monthly drop of CSV files to a churn prediction over HTTP.

    Begin with `churn demo`: it starts everything, fills twelve months and shows the result. Then
    `churn generate` or your own drops, `churn run` to put them through, `churn predict` to ask.
    """,
)

_STACK, _DATA, _ASK = "The stack", "From drops to models", "Asking"
_RELEASES, _CAMPAIGNS = "Releases", "Campaigns"
_CONSOLE = "The console"
app.command(rich_help_panel=_STACK)(up)
app.command(rich_help_panel=_STACK)(down)
app.command(rich_help_panel=_STACK)(status)
app.command(rich_help_panel=_STACK)(init)
app.command(rich_help_panel=_STACK)(metrics)
app.add_typer(events, name="events", rich_help_panel=_STACK)
app.command(rich_help_panel=_STACK)(demo)
app.command(rich_help_panel=_DATA)(generate)
app.command(rich_help_panel=_DATA)(deliver)
app.command(rich_help_panel=_DATA)(run)
app.command(rich_help_panel=_DATA)(confirm)
app.command(rich_help_panel=_DATA)(forget)
app.command(rich_help_panel=_DATA)(train)
app.command(rich_help_panel=_DATA)(simulate)
app.command(
    rich_help_panel=_DATA,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(feast)
app.command(rich_help_panel=_DATA)(new)
app.add_typer(contract, name="contract", rich_help_panel=_DATA)
app.command(rich_help_panel=_RELEASES)(ledger)
app.command(rich_help_panel=_RELEASES)(promote)
app.command(rich_help_panel=_RELEASES)(rollback)
app.command(rich_help_panel=_CAMPAIGNS)(actions)
app.command(rich_help_panel=_CAMPAIGNS)(treatments)
app.add_typer(campaign, name="campaign", rich_help_panel=_CAMPAIGNS)
app.command(rich_help_panel=_CONSOLE)(console)
app.add_typer(person, name="person", rich_help_panel=_CONSOLE)
app.command(rich_help_panel=_ASK)(predict)
app.add_typer(key, name="key", rich_help_panel=_ASK)

if __name__ == "__main__":
    app()
