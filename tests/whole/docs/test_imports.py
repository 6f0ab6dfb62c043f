"""No two modules need each other at import: each can be the first that is imported, and be read alone."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("churn", "churn_assets", "feature_repo", "api", "bench")


def _name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(file): file for package in PACKAGES for file in (ROOT / package).rglob("*.py")}


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Every import that runs when the module does: none inside of a function, none for types alone."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test)
        ):
            yield from _at_import(node.body)


def _needed(text: str) -> set[str]:
    needed = set()
    for node in _at_import(ast.parse(text).body):
        if isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            needed |= names & MODULES.keys() or {str(node.module)}
    return needed & MODULES.keys()


def _order(texts: dict[str, str]) -> list[str]:
    graph = {module: _needed(text) for module, text in texts.items()}
    return list(TopologicalSorter(graph).static_order())


def test_no_modules_import_each_other() -> None:
    texts = {name: file.read_text(encoding="utf-8") for name, file in MODULES.items()}
    order = _order(texts)
    assert set(order) == MODULES.keys()
    assert order.index("churn.errors") < order.index("churn.cli.main")


def test_two_that_do_are_named() -> None:
    texts = {
        "churn.months": "from churn.errors import ChurnError",
        "churn.errors": "if True:\n    from churn import months",
    }
    with pytest.raises(CycleError, match="cycle"):
        _order(texts)
