"""The drawing and the tables of docs/architecture.md, made from the code: `python -m docs.architecture`.

Which assets there are, and what follows from what, is asked of Dagster. What a group reads and writes is
found in its source: every name that its functions in `churn_assets` use is followed to the functions of ours
that it stands for, and their SQL says which schema they touch; where a store is no schema, `STORES` says by
which function or attribute it is reached. Nothing is run. What the shell does for every asset alike (its
record in MLflow, its locks) is not followed. Which rooms there are is read from the folders, their order from
the layers in `pyproject.toml`, what each is for from the docstring of its package.
"""

import ast
import functools
import re
import tomllib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from churn.markdown import table
from churn_assets.definitions import defs

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
# Where the rooms are looked for; those of `churn` are its sub-packages.
PACKAGES = ("churn", "feature_repo", "api", "console", "churn_assets", "bench")
# Where names are followed to: what the shell does for each asset is no property of one.
_FOLLOWED = ("churn", "feature_repo", "api", "console")
# What everybody asks, and what keeps nothing of a month: the contract, settings, whether the tables fit.
_PASSED_BY = ("churn.contract.", "churn.settings.", "churn.database.migrate.")
# What stands around the graph: through which module it is entered.
API = "api"
AROUND = {"delivery": "churn.deliveries.accept", API: "api.main"}


class Store(NamedTuple):
    """Where things are kept, and by which functions, or `.attributes`, of ours it is reached.

    Of a schema of Postgres, the statements that name it are found besides.
    """

    title: str
    readers: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()


# By the name in the drawing, which is the schema's where there is one.
STORES = {
    "drops": Store("drops", readers=("churn.deliveries.drop.read_drop",)),
    "accepted": Store(
        "accepted files",
        readers=("churn.deliveries.store.read_accepted",),
        writers=("churn.deliveries.store.keep", "churn.deliveries.store.keep_content"),
    ),
    "raw": Store("Postgres: raw", writers=("churn.database.partitions.raw_partition",)),
    "public": Store(
        "Postgres: public",
        readers=(".snapshot", ".current"),
        writers=("churn.database.partitions.snapshot_partition",),
    ),
    "lake": Store(
        "lake",
        readers=(
            "churn.lake.files.read_current",
            "churn.lake.files.view_version",
            "churn.lake.point_in_time.join",
            ".get_historical_features",
        ),
        writers=("churn.lake.files.write_view",),
    ),
    "online": Store("Postgres: online", readers=(".get_online_features",)),
    "training": Store(
        "training sets",
        readers=("churn.training.dataset.read_training_set",),
        writers=("churn.training.dataset.build_training_set",),
    ),
    "mlflow": Store(
        "MLflow",
        readers=(
            ".download_artifacts",
            ".get_model_version",
            ".get_model_version_by_alias",
            ".search_model_versions",
            "api.champion.MlflowRegistry",
        ),
        writers=("churn.model.tracking.log_model", ".log_artifact", ".serve"),
    ),
    "redis": Store(
        "the copy in Redis",
        readers=("churn.online.redis_read.AsyncRedisReader", "churn.online.redis_read.RedisReader"),
        writers=("churn.online.redis_copy.copy_to_redis",),
    ),
    "access": Store("Postgres: access"),
    "decisions": Store("Postgres: decisions"),
    "monitoring": Store(
        "Postgres: monitoring",
        writers=("churn.monitoring.store.keep_drift", "churn.monitoring.store.keep_performance"),
    ),
    "files": Store(
        "files of scores, lists and reports",
        writers=(
            "churn.scoring.action_file.write_actions",
            "churn.scoring.scores.scores_path",
            "churn.monitoring.drift.write_drift_page",
            "churn.promotion.cards.write_missing_cards",
            "churn.report.write_report",
        ),
    ),
    API: Store("the running API", readers=("churn.verification.smoke.smoke_test",)),
}
_WRITES = r"(?:INSERT INTO|DELETE FROM|UPDATE|MERGE INTO|TABLE)"
_READS = r"(?<!DELETE )(?:FROM|JOIN)"


class Definition(NamedTuple):
    """A function, class or constant of a module: its source, and what the names in it stand for."""

    node: ast.AST
    names: dict[str, str]


class Use(NamedTuple):
    """Which stores are read and written, by their names."""

    reads: frozenset[str]
    writes: frozenset[str]


def source_of(module: str) -> Path:
    """Return a module's file; of a package, its `__init__.py`."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def definitions(module: str) -> dict[str, Definition]:
    """Return what a module defines, or imports from elsewhere, by name."""
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    names = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    own = {name: node for node in tree.body for name in defined(node)}
    names |= {name: f"{module}.{name}" for name in own}
    return {name: Definition(node, names) for name, node in own.items()}


def defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@functools.cache
def use_of(module: str) -> Use:
    """Return what a module's functions read and write, followed through all that they call."""
    waiting = deque(f"{module}.{name}" for name in definitions(module))
    seen = set(waiting)
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    while waiting:
        own, calls = _use_of_one(waiting.popleft())
        reads, writes = reads | own.reads, writes | own.writes
        waiting.extend(calls - seen)
        seen |= calls
    return Use(reads, writes)


@functools.cache
def _use_of_one(name: str) -> tuple[Use, frozenset[str]]:
    """Return what a definition uses by itself, and the definitions of ours that it names."""
    module, _, own = name.rpartition(".")
    if own not in definitions(module):
        return Use(frozenset(), frozenset()), frozenset()
    node, names = definitions(module)[own]
    nodes = list(ast.walk(node))
    attributes = [each for each in nodes if isinstance(each, ast.Attribute)]
    touched = {name, *(f".{each.attr}" for each in attributes)}
    reads = {store for store, each in STORES.items() if touched & {*each.readers}}
    writes = {store for store, each in STORES.items() if touched & {*each.writers}}
    for text in _texts(node):
        reads |= set(_schemas(_READS, text))
        writes |= set(_schemas(_WRITES, text))
    calls = {names[each.id] for each in nodes if isinstance(each, ast.Name) and each.id in names}
    calls |= {
        f"{names[each.value.id]}.{each.attr}"
        for each in attributes
        if isinstance(each.value, ast.Name) and each.value.id in names
    }
    return Use(frozenset(reads), frozenset(writes)), frozenset(filter(_is_followed, calls))


def _is_followed(name: str) -> bool:
    is_ours = name.split(".")[0] in _FOLLOWED and source_of(name.rpartition(".")[0]).is_file()
    return is_ours and not name.startswith(_PASSED_BY)


def _texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts of a definition but its docstrings; what is filled in later stays a brace."""
    docstrings = {
        id(each.body[0].value)
        for each in ast.walk(node)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and isinstance(each.body[0], ast.Expr)
    }
    constants = (each for each in ast.walk(node) if isinstance(each, ast.Constant))
    for each in constants:
        if isinstance(each.value, str) and id(each) not in docstrings:
            yield each.value


@functools.cache
def relations() -> dict[str, str]:
    """Return the schema of each table whose DDL is written down, by the name that statements give it."""
    texts = [
        text
        for module in (
            "churn.database.tables",
            "churn.database.schema",
            "churn.database.online_tables",
        )
        for each in definitions(module).values()
        for text in _texts(each.node)
    ]
    every = re.findall(r"CREATE TABLE IF NOT EXISTS ([\w.]+) \(", "\n".join(texts))
    return {name: name.rpartition(".")[0] or "public" for name in every}


def _schemas(verb: str, text: str) -> Iterator[str]:
    schemas = set(relations().values())
    for name in re.findall(rf"\b{verb} (?:IF NOT EXISTS )?([\w.]+)", text):
        schema = relations().get(name, name.partition(".")[0])
        if schema in schemas:
            yield schema


class Group(NamedTuple):
    """A group of assets: its keys, and the groups that it follows from."""

    assets: list[str]
    follows: list[str]


@functools.cache
def groups() -> dict[str, Group]:
    """Return the groups of the asset graph, each after all that it follows from."""
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    group_of = {key: str(spec.group_name) for key, spec in specs.items()}
    graph: dict[str, Group] = {}
    for name in sorted(set(group_of.values())):
        own = [spec for key, spec in specs.items() if group_of[key] == name]
        before = {group_of[dep.asset_key] for spec in own for dep in spec.deps} - {name}
        graph[name] = Group(sorted(spec.key.to_user_string() for spec in own), sorted(before))
    order = sorted(graph, key=lambda name: (len(_before(name, graph)), name))
    return {name: graph[name] for name in order}


def _before(group: str, graph: dict[str, Group]) -> set[str]:
    """Return all groups that one follows from, directly or not."""
    follows = graph[group].follows if group in graph else []
    return {*follows, *(name for each in follows for name in _before(each, graph))}


def drawing() -> str:
    """Return the flow as a Mermaid flowchart.

    What a group reads is drawn where nothing that it follows from has written it; `uses` has all of it.
    """
    graph = groups()
    uses = {name: use_of(f"churn_assets.{name}") for name in graph}
    uses |= {name: use_of(module) for name, module in AROUND.items()}
    lines = ["flowchart LR", '  delivery(["delivery: churn deliver, the sensor"])']
    lines += [
        f'  {name}["<b>{name}</b><br/>{"<br/>".join(of.assets)}"]' for name, of in graph.items()
    ]
    lines += [f'  {API}(["the API: /features, /predict, /explain"])']
    lines += [
        f'  {_node(name)}[("{store.title}")]' for name, store in STORES.items() if name != API
    ]
    lines += [f"  {before} ==> {name}" for name, of in graph.items() for before in of.follows]
    for name, (reads, writes) in uses.items():
        known = writes.union(*(uses[each].writes for each in _before(name, graph)))
        lines += [f"  {_node(store)} -.-> {name}" for store in STORES if store in reads - known]
        lines += [f"  {name} --> {_node(store)}" for store in STORES if store in writes]
    return "\n".join(["```mermaid", *lines, "```"])


def _node(store: str) -> str:
    """Return a store's name in the drawing, in which groups have names, too; the API is there already."""
    return store if store == API else f"kept_{store}"


def uses() -> str:
    """Return what each group reads and writes, as a Markdown table."""
    modules = {"delivery": AROUND["delivery"], **_modules_of_groups(), API: AROUND[API]}
    rows = []
    for name, module in modules.items():
        reads, writes = use_of(module)
        rows.append([name, f"`{_path(module)}`", _titles(reads), _titles(writes)])
    return "\n".join(table(["group", "where it begins", "reads", "writes"], rows))


def _modules_of_groups() -> dict[str, str]:
    return {name: f"churn_assets.{name}" for name in groups()}


def _titles(stores: Iterable[str]) -> str:
    return ", ".join(store.title for name, store in STORES.items() if name in stores)


def _path(module: str) -> str:
    return source_of(module).relative_to(ROOT).as_posix()


def packages() -> list[str]:
    """Return every package, a stage after those that it may import, by the layers of pyproject.toml.

    A package of a package is told with it, but for those of `churn`. What no layer names comes last.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    order = [name.strip() for layer in reversed(layers) for name in layer.split("|")]
    every = [
        *PACKAGES[1:],
        *(f"churn.{file.parent.name}" for file in ROOT.glob("churn/*/__init__.py")),
    ]

    def place(package: str) -> tuple[int, int]:
        named = [at for at, name in enumerate(order) if f"{name}.".startswith(f"{package}.")]
        return (
            min(named, default=len(order)),
            PACKAGES.index(package) if package in PACKAGES else 0,
        )

    return ["churn", *sorted(every, key=place), "tests"]


def modules(package: str) -> list[str]:
    """Return the files of a package as they are named in it, those of packages below it included."""
    folder = ROOT.joinpath(*package.split("."))
    if package == "tests":
        return sorted(f"{each.parent.name}/" for each in folder.glob("*/__init__.py"))
    files = folder.glob("*.py") if package == "churn" else folder.rglob("*.py")
    names = (file.relative_to(folder).with_suffix("").as_posix() for file in files)
    return sorted((name for name in names if not name.endswith("__init__")), key=_by_folder)


def _by_folder(name: str) -> tuple[str, str]:
    folder, _, own = name.rpartition("/")
    return folder, own


def rooms() -> str:
    """Return what each package is for and which modules it has, as a Markdown table.

    What is there is the first paragraph of its docstring, and what is not the second.
    """
    rows = []
    for package in packages():
        text = ast.get_docstring(ast.parse(source_of(package).read_text(encoding="utf-8"))) or ""
        here, elsewhere, *_ = [*(" ".join(part.split()) for part in text.split("\n\n")), ""]
        names = ", ".join(f"`{name}`" for name in modules(package))
        rows.append([f"`{package.replace('.', '/')}`", here, elsewhere, names])
    return "\n".join(table(["room", "what is there", "what is not", "modules"], rows))


_PARTS = {"drawing": drawing, "uses": uses, "rooms": rooms}


def rendered(page: str) -> str:
    """Return the page with what stands between each pair of marks made anew.

    Raises:
        ValueError: a mark is missing.
    """
    for name, part in _PARTS.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        before, after = page.split(begin)[0], page.split(end)[-1]
        if begin not in page or end not in page:
            raise ValueError(f"docs/architecture.md does not say where `{name}` goes")
        page = f"{before}{begin}{part()}{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
