"""`churn contract init` and `churn new`: from somebody's exports to a contract, and to a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from churn.cli.screen import as_the_person_has_it, err, out
from churn.errors import ChurnError

if TYPE_CHECKING:
    from churn.contract.draft import Draft, Exports

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
    """Look at exports and draft a contract of them, with comments on what was guessed.

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
    """Make a project of exports: a contract, a state folder that keeps it, and the next steps.

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


def show_draft(exports: Exports, draft: Draft) -> None:
    """Print what was passed over, what was guessed, and what a person must decide."""
    console = out()
    for note in exports.notes:
        err().print(note, markup=False, soft_wrap=True)
    for title, texts in (("guessed", draft.guesses), ("a person must decide", draft.decisions)):
        if texts:
            console.print(f"\n{title}:")
        for number, text in enumerate(texts, 1):
            console.print(f"  {number}. {text}", markup=False, soft_wrap=True)
