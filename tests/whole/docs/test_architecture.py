"""docs/architecture.md says what the code says, and what it names by hand is there."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from churn.contract.in_force import TABLES, VIEWS
from churn_assets.definitions import defs
from churn_assets.monthly import ALARM_TAG
from docs import architecture
from docs.architecture import AROUND, ROOT, STORES

PAGE = architecture.PAGE.read_text(encoding="utf-8")
# CHANGELOG.md tells of files that are no more.
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in ROOT.glob("docs/*.md")))


def test_the_page_is_what_the_code_gives() -> None:
    assert architecture.rendered(PAGE) == PAGE, "run `make map`"


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="uses"):
        architecture.rendered(PAGE.replace("<!-- uses -->", ""))


def test_every_asset_is_in_the_drawing() -> None:
    drawn = set(re.findall(r"[\w.]+", architecture.drawing()))
    assert {each.name for each in (*TABLES, *VIEWS)} <= drawn
    assert {name for group in architecture.groups().values() for name in group.assets} <= drawn


def test_stores_are_reached_by_names_that_exist() -> None:
    for store in STORES.values():
        for name in (*store.readers, *store.writers):
            module, _, own = name.rpartition(".")
            assert not module or own in architecture.definitions(module), name


def test_every_store_is_read_or_written_by_somebody() -> None:
    modules = [*AROUND.values(), *(f"churn_assets.{group}" for group in architecture.groups())]
    uses = [architecture.use_of(module) for module in modules]
    assert set().union(*(each.reads | each.writes for each in uses)) == STORES.keys()


def test_what_is_read_and_written_is_found_through_several_modules() -> None:
    snapshots, api = architecture.use_of("churn_assets.snapshots"), architecture.use_of("api.main")
    assert (snapshots.reads, snapshots.writes) == ({"raw", "public"}, {"raw", "public"})
    assert (api.reads, api.writes) == (
        {"online", "redis", "mlflow", "access"},
        # When a key was last used.
        {"access"},
    )


def test_what_a_group_writes_is_of_the_kinds_that_its_assets_say() -> None:
    kinds = {
        "postgres": {"raw", "public", "online", "decisions", "monitoring"},
        "parquet": {"lake", "training", "files"},
        "mlflow": {"mlflow"},
        "markdown": {"files"},
    }
    for spec in defs.resolve_all_asset_specs():
        written = architecture.use_of(f"churn_assets.{spec.group_name}").writes
        for kind in spec.kinds & kinds.keys():
            assert written & kinds[kind], (spec.key, kind)


def test_every_package_and_every_module_is_told() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \|.*\| ([^|]*) \|$", architecture.rooms(), re.M)
    told = {
        f"{room}/{name}{'' if name.endswith('/') else '.py'}"
        for room, names in rows
        for name in re.findall(r"`([^`]+)`", names)
    }
    files = {
        file.relative_to(ROOT).as_posix()
        for package in architecture.PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if file.name != "__init__.py"
    }
    folders = {f"tests/{file.parent.name}/" for file in (ROOT / "tests").glob("*/__init__.py")}
    assert told == files | folders
    assert len(rows) == len({room for room, _ in rows})


def test_every_room_says_what_is_there_and_what_is_elsewhere() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| ([^|]*) \| ([^|]*) \|", architecture.rooms(), re.M)
    assert [room for room, here, elsewhere in rows if not here or not elsewhere] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    tops = "|".join((*architecture.PACKAGES, "tests", "docs", "churn_assets"))
    named = re.findall(rf"`((?:{tops})/[\w./]+)`", text)
    assert len(named) > 60 or page != "docs/architecture.md"
    assert [path for path in named if path != ALARM_TAG and not (ROOT / path).exists()] == []


def test_each_walk_passes_each_file_once() -> None:
    for walk in PAGE.split("\n### ")[1:]:
        files = re.findall(r"^\| `([\w/.]+)` \|", walk.split("\n## ")[0], re.M)
        assert len(files) > 5
        assert len(files) == len(set(files)), walk.splitlines()[0]


def _names_in(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return {name for node in ast.parse(text).body for name in architecture.defined(node)}
    if path.suffix == ".toml":
        return {f"tool.{name}" for name in tomllib.loads(text)["tool"]}
    return set(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text))


def test_what_is_where_is_there() -> None:
    asked = PAGE.split("\n## Where is ...")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `([^`|]+)` \| (`[^|]+`) \|$", asked, re.M)
    assert len(rows) > 15
    for what, path, names in rows:
        missing = {*re.findall(r"`([^`]+)`", names)} - _names_in(ROOT / path)
        assert not missing, f"{what}: {missing} in {path}"
