"""Names: a class is called one thing in one place, and a variable says what it holds."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PRODUCT = ("churn", "churn_assets", "feature_repo", "api", "console", "bench")
# A class that may share its name with another, and why.
MAY_BE_TWICE: dict[str, str] = {}
# Words that say where a value came from and not what it is.
EMPTY_WORDS = {"found", "said", "made"}
# Where no variable, parameter or attribute is one of them.
HELD_TO_IT = tuple(f"{package}/**/*.py" for package in PRODUCT)


def classes() -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path.relative_to(ROOT)))
    return places


def empty_words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each variable, parameter or attribute that is an empty word where it is set."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg in EMPTY_WORDS:
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in EMPTY_WORDS:
                yield node.lineno, name


def test_no_two_classes_share_a_name():
    twice = {name: places for name, places in classes().items() if len(places) > 1}
    assert twice.keys() - MAY_BE_TWICE.keys() == set(), twice
    assert MAY_BE_TWICE.keys() <= twice.keys()


@pytest.mark.parametrize("pattern", HELD_TO_IT)
def test_a_variable_says_what_it_holds(pattern: str):
    paths = sorted(ROOT.glob(pattern))
    assert paths
    places = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in paths
        for line, name in empty_words(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert places == []


@pytest.mark.parametrize(
    "text",
    [
        "found = 1",
        "found: int = 1",
        "self.said = 1",
        "def f(made): pass",
        "for found, _ in pairs: pass",
        "with open(path) as found: pass",
        "[made for made in things]",
    ],
)
def test_an_empty_word_is_noticed(text: str):
    assert list(empty_words(ast.parse(text)))


def test_a_word_that_is_only_read_or_quoted_is_none():
    assert not list(empty_words(ast.parse("'found'; other.found; made_by = 1")))
