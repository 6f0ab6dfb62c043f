"""Where a test lies follows from the module that it tests, as CONTRIBUTING.md says."""

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "tests"
# Beside churn/, whose rooms have their tests in folders of their names right in tests/.
PACKAGES = ("api", "bench", "churn_assets", "console", "feature_repo")
# Files of tests that are named after no module, each with its reason.
OF_NO_MODULE = {
    "bench/test_bench.py": "the rows of the bench, module after module, which share one world",
}


def modules(folder: Path) -> set[str]:
    """Return what the tests in a folder, given below tests/, may be named after."""
    place = (
        ROOT / folder
        if folder.parts[:1] and folder.parts[0] in PACKAGES
        else ROOT / "churn" / folder
    )
    names = {each.stem.strip("_") for each in place.glob("*.py") if each.name != "__init__.py"}
    packages = {each.parent.name for each in place.glob("*/__init__.py")}
    # A package whose modules have a folder of tests is no module.
    packages = {name for name in packages if not (TESTS / folder / name).is_dir()}
    own = place / "__init__.py"
    has_own = own.exists() and any(
        isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(own.read_text()).body
    )
    return names | packages | ({place.name} if has_own else set())


def is_named_after_a_module(file: Path) -> bool:
    """Say whether a file below tests/ is `test_<module>.py`, or `test_<module>_<aspect>.py`."""
    name = file.stem.removeprefix("test_")
    return any(name == module or name.startswith(f"{module}_") for module in modules(file.parent))


def misplaced(files: Iterable[str]) -> list[str]:
    """Return those Python files, given below tests/, that lie where nobody would look for them."""
    wrong = []
    for name in sorted(files):
        file = Path(name)
        if file.name in ("conftest.py", "__init__.py"):
            continue
        in_kit, is_test = file.parts[0] == "kit", file.name.startswith("test_")
        if in_kit or not is_test:
            right = in_kit and not is_test
        else:
            right = (
                file.parts[0] == "whole" or name in OF_NO_MODULE or is_named_after_a_module(file)
            )
        if not right:
            wrong.append(name)
    return wrong


def test_every_test_and_every_helper_lies_where_it_is_looked_for() -> None:
    files = {file.relative_to(TESTS).as_posix() for file in TESTS.rglob("*.py")}
    assert misplaced(files) == []
    assert set(OF_NO_MODULE) <= files
    assert [name for name in OF_NO_MODULE if is_named_after_a_module(Path(name))] == []


def test_what_lies_elsewhere_is_named() -> None:
    elsewhere = [
        "core/test_months.py",  # a room that is none
        "deliveries/small_drop.py",  # a helper beside tests
        "deliveries/test_months.py",  # a module of another room
        "kit/test_states.py",  # tests among helpers
        "model/test_model_fits.py",  # the room's own name, which says nothing
        "test_deliveries.py",  # a room, whose modules have tests of their own
        "whole/flow/states.py",  # a helper beside what plays the system whole
    ]
    known = ["test_months.py", "database/test_database_locks.py", "api/routes/test_predict.py"]
    assert misplaced([*elsewhere, *known, "whole/flow/test_world.py"]) == elsewhere
