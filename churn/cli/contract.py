"""`churn contract` drafts, shows, compares and applies a business's contract; `churn new` makes a project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from churn.cli.screen import as_the_person_has_it, err, out
from churn.errors import ChurnError

if TYPE_CHECKING:
    from churn.contract.differences import Difference
    from churn.contract.draft import ContractDraft, Exports
    from churn.contract.structure import Contract


_Key = Annotated[
    str,
    typer.Option(
        metavar="COLUMN", help="The customers' key in the files; guessed where not given."
    ),
]


def init(
    folder: Annotated[
        Path, typer.Argument(help="A folder of exports, or of folders per month; or one file.")
    ],
    to: Annotated[Path, typer.Option("--out", help="The contract to write.")] = Path(
        "contract.yaml"
    ),
    key: _Key = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a contract that is there.")
    ] = False,
) -> None:
    """Look at exports and draft a contract for them, with comments on what was guessed.

    Reads csv with any delimiter, decimal mark and encoding, csv.gz and parquet. Says what a person must
    decide: the key, the label, what is a feature.

    **Examples**

    - `churn contract init exports`
    - `churn contract init exports --key account_id --out accounts.yaml`
    """
    from churn.project import draft_contract

    if to.exists() and not overwrite:
        raise ChurnError(
            "is there already", where=str(to), remedy="give another --out, or --overwrite"
        )
    exports, draft, contract = draft_contract(folder, key)
    try:
        with as_the_person_has_it():
            to.write_text(draft.text, encoding="utf-8")
    except OSError as error:
        remedy = "give --out a file in a folder that is there"
        what = f"the draft cannot be written: {error.strerror}"
        raise ChurnError(what, where=str(to), remedy=remedy) from error
    tables = ", ".join(table.name for table in contract.tables[:-1])
    out().print(f"{to}: {len(contract.tables) - 1} tables ({tables})", markup=False, soft_wrap=True)
    show_draft(exports, draft)
    err().print(
        f"next: edit {to}, then `CHURN_CONTRACT={to} churn contract check DROP`", markup=False
    )


def new(
    folder: Annotated[Path, typer.Argument(help="Where the project goes.")],
    exports: Annotated[Path, typer.Option("--from", help="The exports; they stay where they are.")],
    contract: Annotated[
        Path | None,
        typer.Option(help="A contract; drafted from the exports where not given."),
    ] = None,
    key: _Key = "",
) -> None:
    """Make a project out of exports: a contract, a state folder that keeps it, and the next steps.

    **Example**

    - `churn new gym --from exports && cd gym && churn run`
    """
    from churn.project import CONTRACT_FILE, make_project

    with as_the_person_has_it():
        project = make_project(folder, exports, contract_file=contract, key=key)
    out().print(f"{folder}: a project of the contract {project.contract.name}", markup=False)
    if project.draft is None:
        err().print(f"next: `cd {folder} && churn run`", markup=False)
        return
    show_draft(project.exports, project.draft)
    err().print(
        f"next: decide the above in {folder / CONTRACT_FILE}, then `cd {folder} && churn run`",
        markup=False,
    )


def show_draft(exports: Exports, draft: ContractDraft) -> None:
    """Print what was passed over, what was guessed, and what a person must decide."""
    console = out()
    for note in exports.notes:
        err().print(note, markup=False, soft_wrap=True)
    for title, texts in (("guessed", draft.guesses), ("a person must decide", draft.decisions)):
        if texts:
            console.print(f"\n{title}:")
        for number, text in enumerate(texts, 1):
            console.print(f"  {number}. {text}", markup=False, soft_wrap=True)


contract = typer.Typer(
    no_args_is_help=True,
    help="""The contract: one file that declares tables, columns, features and labels.

    Everything follows from it: the rules for deliveries, the tables, the feature services, the API. The
    default is StreamFlow's own; CHURN_CONTRACT names another. `docs/contract.md` says how to write one.

    **Examples**

    - `churn contract init exports`
    - `churn contract show`
    - `churn contract check drops/month_000`
    """,
)
contract.command()(init)


@contract.command()
def schema() -> None:
    """Print the JSON Schema of the file, by which an editor completes and checks it.

    **Examples**

    - `churn contract schema > contract.schema.json`
    """
    from churn.contract.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@contract.command()
def show(
    file: Annotated[
        Path | None, typer.Argument(help="A contract; the one in force where not given.")
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="The files of a drop only, as the README shows them.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(
            help="A Markdown page; its table between the marks of a contract is replaced."
        ),
    ] = None,
) -> None:
    """Print a contract's columns as a Markdown table.

    **Examples**

    - `churn contract show`
    - `churn contract show --files`
    - `churn contract show --files --into README.md`
    """
    from churn.contract.export import columns_table, files_table, with_table

    chosen = _read(file)
    table = files_table(chosen) if files else columns_table(chosen)
    if into is None:
        typer.echo(table)
    else:
        into.write_text(with_table(into.read_text(encoding="utf-8"), table), encoding="utf-8")


@contract.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A drop: the folder of one month.")],
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Its month, if its name does not say it.")
    ] = None,
) -> None:
    """Check one drop against the contract in force; nothing is taken in, and nothing needs to run.

    Says what would be refused, with file, line and remedy, and what is odd. Ends with 1 where the drop
    would be refused.

    **Examples**

    - `churn contract check drops/month_000`
    - `CHURN_CONTRACT=contract.yaml churn contract check exports/2024-01 --month 2024-01`
    """
    from rich.markup import escape

    from churn.deliveries.drop import read_drop
    from churn.deliveries.drops import choose_month
    from churn.months import Month
    from churn.settings import contract_in_force, get_settings

    in_force = contract_in_force()
    chosen = choose_month(folder, Month.parse(month) if month else None, get_settings())
    drop = read_drop(folder, chosen, lambda: None)
    rows = ", ".join(f"{file.table.name} {file.rows:,}" for file in drop.files)
    out().print(escape(f"{folder} ({chosen}) keeps the contract {in_force.name}: rows of {rows}"))
    for oddity in drop.oddities:
        where = f"{oddity.file} {oddity.column}".strip()
        share = f"{oddity.count:,} of {oddity.rows:,}"
        out().print(escape(f"  odd: {where}: {oddity.what} ({share})"), soft_wrap=True)


@contract.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The contract of before.")],
    new: Annotated[
        Path | None, typer.Argument(help="The contract to be; the one in force where not given.")
    ] = None,
) -> None:
    """Say what a changed contract adds to a system with data, what breaks it, and what to do.

    Ends with 1 where something breaks.

    **Examples**

    - `churn contract diff contract.yaml contract.new.yaml`
    """
    from churn.contract.differences import differences
    from churn.settings import contract_in_force

    to_be = _read(new)
    every = differences(_read(old), to_be)
    _tell(every, where=str(new or "the contract in force"))
    if every:
        # The built-in contract is in force where CHURN_CONTRACT names none, whichever path it was read from.
        is_in_force = to_be.fingerprint == contract_in_force().fingerprint
        named = "" if is_in_force else f"CHURN_CONTRACT={new} "
        err().print(f"next: `{named}churn contract apply`", markup=False, soft_wrap=True)


@contract.command()
def apply(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Bring the databases up to the contract in force, while the API serves; `churn init` does it, too.

    New columns, tables, views and wider types are added to what holds data. What would lose data, or
    give another meaning to what old releases were fitted on, is refused, and then nothing is changed.

    **Examples**

    - `CHURN_CONTRACT=contract.yaml churn contract apply --dry-run`
    - `CHURN_CONTRACT=contract.yaml churn contract apply`
    """
    from churn.cli.progress import running
    from churn.database import connect
    from churn.database.init import initialise
    from churn.database.migrate import contract_differences

    with running("postgres"):
        with connect() as connection:
            every = contract_differences(connection)
        _tell(every, where="the contract in force")
        if not dry_run:
            initialise(("streamflow",))
            err().print("applied; a stack that is up works by it after `churn down` and `churn up`")


def _tell(every: tuple[Difference, ...], where: str) -> None:
    """Print what differs.

    Raises:
        ChurnError: some of it breaks a system with data.
    """
    from rich.markup import escape

    for difference in every:
        colour = "red" if difference.is_breaking else "green"
        out().print(f"[{colour}]{escape(str(difference))}[/]", soft_wrap=True)
    if not every:
        err().print("nothing differs that matters to data or models")
    if breaking := sum(difference.is_breaking for difference in every):
        raise ChurnError(
            f"{breaking} of {len(every)} differences break a system with data",
            where=where,
            remedy="follow the arrows above; the rest is applied by `churn contract apply`",
        )


@contract.command()
def export(
    file: Annotated[
        Path | None, typer.Argument(help="A contract; the one in force where not given.")
    ] = None,
    odcs: Annotated[
        bool, typer.Option("--odcs", help="As the Open Data Contract Standard has it.")
    ] = True,
) -> None:
    """Print the contract as a document of the Open Data Contract Standard (YAML).

    **Examples**

    - `churn contract export --odcs > streamflow.odcs.yaml`
    """
    from churn.contract import export as forms

    if not odcs:
        raise ChurnError("there is no other form yet", remedy="leave out --no-odcs")
    typer.echo(forms.odcs(_read(file)), nl=False)


@contract.command()
def calibrate(
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="YYYY-MM", help="A month that was not quiet; may be given again."),
    ] = None,
) -> None:
    """Derive the thresholds of drift from this deployment's own months, in place of provisional ones.

    Every month in the lake is compared with every earlier one: how far a column moved while nothing was
    wrong is how far it may move. So leave out months in which something happened that an alarm would be
    right about. The thresholds are kept in the state folder, and apply to months watched from now on.

    **Examples**

    - `churn contract calibrate`
    - `churn contract calibrate --without 2024-05 --without 2024-06`
    """
    from churn.cli.progress import running
    from churn.monitoring import calibrate as own_months
    from churn.months import Month

    left_out = [Month.parse(each) for each in without or ()]
    with running("postgres", "mlflow"):
        calibration = own_months.calibrate(without=left_out)
    months = ", ".join(map(str, calibration.months))
    out().print(f"{len(calibration.turnover)} columns calibrated on {months}", soft_wrap=True)
    if calibration.uncalibrated:
        names = ", ".join(calibration.uncalibrated)
        out().print(f"seen in too few months, as before: {names}", soft_wrap=True)


def _read(path: Path | None) -> Contract:
    from churn.contract.document import read_contract_file
    from churn.settings import contract_in_force

    return contract_in_force() if path is None else read_contract_file(path)
