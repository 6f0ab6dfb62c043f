"""A project of one's own: a folder with a contract, a state folder that refers to it, and the next steps.

`churn new` makes it once. After that only its owner writes into it; commands write into the state folder.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from churn.contract.document import read_contract, read_contract_file
from churn.contract.draft import ContractDraft, Exports, draft_text, read_exports, understand
from churn.contract.structure import Contract
from churn.errors import ChurnError
from churn.settings import KEPT, write_env

CONTRACT_FILE = "contract.yaml"
STATE_FOLDER = ".churn"
DROPS_FOLDER = "drops"


@dataclass(frozen=True)
class Project:
    """A project that was just made.

    Args:
        contract: the contract that it works by.
        draft: what was guessed and what must be decided; None where a contract was given.
        drops: the folder from which its drops are taken.
    """

    folder: Path
    contract: Contract
    draft: ContractDraft | None
    drops: Path
    exports: Exports


def draft_contract(
    folder: Path, key: str = "", name: str = ""
) -> tuple[Exports, ContractDraft, Contract]:
    """Return the exports in a folder, the draft of a contract for them, and the contract that it makes.

    Raises:
        ChurnError: there are no exports, or no column is named like the key.
    """
    exports = read_exports(folder)
    draft = draft_text(understand(exports, key), name)
    return exports, draft, read_contract(draft.text, f"drafted from {folder}")


def make_project(
    folder: Path, exports_folder: Path, *, contract_file: Path | None = None, key: str = ""
) -> Project:
    """Make a project for `churn run` to work on.

    Args:
        folder: where it goes; it may exist, but without a contract or a state folder in it.
        exports_folder: the exports, which stay where they are.
        contract_file: a contract to copy; by default one is drafted from the exports.
        key: the customers' key, for a draft.

    Raises:
        ChurnError: a project is there already, there are no exports, or the contract cannot be read.
    """
    for name in (CONTRACT_FILE, STATE_FOLDER):
        if (folder / name).exists():
            raise ChurnError(
                f"{name} is there already",
                where=str(folder),
                remedy="give another folder, or remove it",
            )
    draft: ContractDraft | None = None
    if contract_file is None:
        exports, draft, contract = draft_contract(exports_folder, key, folder.resolve().name)
        text = draft.text
    else:
        exports = read_exports(exports_folder)
        contract = read_contract_file(contract_file)
        text = contract.text
    folder.mkdir(parents=True, exist_ok=True)
    drops = _drops(folder, exports, contract)
    (folder / CONTRACT_FILE).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(_next_steps(folder, exports, draft), encoding="utf-8")
    _keep(folder / STATE_FOLDER, drops)
    return Project(folder, contract, draft, drops, exports)


def _drops(folder: Path, exports: Exports, contract: Contract) -> Path:
    """Return the folder of drops: that of the exports, or one of ours where no name there holds a month."""
    if not exports.is_one_drop:
        return exports.drops.resolve()
    drops = folder.resolve() / DROPS_FOLDER
    first = contract.drop_folder.replace("{month}", str(contract.first_month)).replace("{n}", "000")
    drop = drops / first
    drops.mkdir(exist_ok=True)
    if exports.folder.is_file():
        drop.mkdir()
        shutil.copy2(exports.folder, drop / exports.folder.name)
    else:
        drop.symlink_to(exports.folder.resolve(), target_is_directory=True)
    return drops


def _keep(home: Path, drops: Path) -> None:
    home.mkdir(mode=0o700)
    values = {"CHURN_CONTRACT": f"../{CONTRACT_FILE}", "CHURN_DROPS": str(drops)}
    write_env(home / KEPT, values)


def _next_steps(folder: Path, exports: Exports, draft: ContractDraft | None) -> str:
    decisions = "".join(
        f"{n}. {text}\n" for n, text in enumerate(draft.decisions if draft else (), 1)
    )
    of_contract = (
        f"`{CONTRACT_FILE}` was drafted from the exports. What a person must decide in it:\n\n{decisions}"
        if draft
        else f"`{CONTRACT_FILE}` says what the exports are.\n"
    )
    return f"""# {folder.resolve().name}

Made by `churn new` from the exports in `{exports.folder.name}`. All commands are given in this folder, where
`{STATE_FOLDER}/{KEPT}` keeps the contract and the folder of the drops.

## The contract

{of_contract}
## Next steps

1. `churn contract check DROP` holds one month's drop against the contract; nothing is taken in.
2. `churn run` takes all drops in, trains and scores.
3. `churn up` keeps the console, Dagster, MLflow and the API running, and prints a link to the console;
   `churn status` says where they are.
4. `churn predict KEY` asks the API for one customer.
"""
