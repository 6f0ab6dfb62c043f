"""The private names of libraries that we lean on: each is listed with its reason, and is where it was.

A private name may move with any release of its library. Where a test here fails after an upgrade, look for
the name's new place (or a public one, which is better) and change the module that uses it. A new use
belongs in the list, with the reason why nothing public does.
"""

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("churn", "churn_assets", "feature_repo", "api", "bench")
# What underscores mean by a rule of Python's own, or in the standard library.
PUBLIC = {"_asdict", "_replace", "_exit", "_current_frames"}

_RUN = "a run in this process that has the identity and the history of one that the daemon launched"
_EXECUTOR = "a step that waits for a pool says for whom, and hears SIGTERM"
_STOP = "a wait of ours is ended as one of Dagster's is"
_WEBSERVER = "the webserver behind our guard of hosts and origins"
_CHECKS = "a check belongs to the materialization that its step has yet to write"
_FEAST = "answers of our online store are filled as Feast's own are"

IMPORTED = {
    "dagster._core.definitions.asset_checks.asset_check_evaluation": {
        "AssetCheckEvaluationTargetMaterializationData": _CHECKS
    },
    "dagster._core.definitions.executor_definition": {"IN_PROC_CONFIG": _EXECUTOR},
    "dagster._core.definitions.job_base": {"InMemoryJob": _RUN},
    "dagster._core.definitions.repository_definition": {"SINGLETON_REPOSITORY_NAME": _RUN},
    "dagster._core.errors": {"DagsterExecutionInterruptedError": _STOP},
    "dagster._core.events": {"RunFailureReason": _RUN},
    "dagster._core.execution.api": {
        "ExecuteRunWithPlanIterable": _EXECUTOR,
        "create_execution_plan": _RUN,
        "job_execution_iterator": _RUN,
    },
    "dagster._core.execution.context.system": {
        "PlanExecutionContext": _EXECUTOR,
        "PlanOrchestrationContext": _EXECUTOR,
    },
    "dagster._core.execution.context_creation_job": {
        "PlanExecutionContextManager": _EXECUTOR,
        "PlanOrchestrationContextManager": _RUN,
        "orchestration_context_event_generator": _RUN,
    },
    "dagster._core.execution.execute_in_process": {"merge_run_tags": _RUN},
    "dagster._core.execution.plan.execute_plan": {"inner_plan_execution_iterator": _EXECUTOR},
    "dagster._core.execution.plan.instance_concurrency_context": {
        "InstanceConcurrencyContext": _EXECUTOR
    },
    "dagster._core.execution.plan.plan": {"ExecutionPlan": _EXECUTOR},
    "dagster._core.execution.retries": {"RetryMode": _EXECUTOR},
    "dagster._core.executor.in_process": {"InProcessExecutor": _EXECUTOR},
    "dagster._core.remote_origin": {
        "GrpcServerCodeLocationOrigin": _RUN,
        "RemoteJobOrigin": _RUN,
        "RemoteRepositoryOrigin": _RUN,
    },
    "dagster._core.storage.dagster_run": {"FINISHED_STATUSES": "which runs may still be alive"},
    "dagster._core.storage.tags": {"REPOSITORY_LABEL_TAG": _RUN},
    "dagster._core.workspace.context": {"WorkspaceProcessContext": _WEBSERVER},
    "dagster._core.workspace.load_target": {"WorkspaceFileTarget": _WEBSERVER},
    "dagster._utils.interrupts": {"check_captured_interrupt": _STOP},
    "dagster._utils.log": {"configure_loggers": _WEBSERVER},
    "feast.infra.offline_stores.duckdb": {"_write_data_source": "a saved dataset, as Feast writes it"},
    "skops.io._utils": {
        "SaveContext": "a dump without the indentation that takes half of its time",
        "get_state": "the same",
    },
}  # fmt: skip

# Attributes, by the module that uses them.
READ = {
    "churn/model/kinds/boosting.py": {
        "_predictors": "the trees, which HistGradientBoosting shows nowhere else",
        "_baseline_prediction": "what they are added to",
    },
    "churn_assets/executor.py": {
        "_instance": _EXECUTOR,
        "_pending_timeouts": _EXECUTOR,
    },
    "feature_repo/online_store.py": {
        "_get_unique_entities": _FEAST,
        "_get_entity_key_protos": _FEAST,
        "_populate_response_from_feature_data": _FEAST,
    },
}

# Methods of a library's classes that classes of ours give a body of their own.
OVERRIDDEN = {
    "feature_repo.offline_store": {
        "_to_arrow_internal": "Feast's word for how a store of one's own makes the answer",
        "_to_df_internal": "the same, for pandas",
    },
    "feature_repo.online_store": {
        "_read_features_per_fv": "all views are read by one statement, where Feast reads view by view",
        "_read_features_per_fv_async": "the same, for Feast's own server",
    },
}


def _sources() -> list[tuple[str, ast.Module]]:
    files = sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py"))
    return [
        (file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8")))
        for file in files
    ]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


SOURCES = _sources()
# Names that our own code gives: its functions and classes, the attributes that it sets, its variables.
OURS = {
    name
    for _, tree in SOURCES
    for node in ast.walk(tree)
    for name in (
        getattr(node, "name", None),
        node.attr if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) else None,
        node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None,
    )
    if isinstance(name, str)
}


def _imported(tree: ast.Module) -> set[tuple[str, str]]:
    """Return what a module imports of private modules, or under a private name, as (module, name)."""
    every = {
        (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } | {
        (alias.name, "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return {
        (module, name)
        for module, name in every
        if module.split(".")[0] not in PACKAGES
        and any(map(_is_private, [*module.split("."), name]))
    }


def _where_it_is_used(module: str, name: str) -> list[str]:
    return [file for file, tree in SOURCES if (module, name) in _imported(tree)]


def test_every_private_name_that_is_imported_is_listed_and_used() -> None:
    used = {pair for _, tree in SOURCES for pair in _imported(tree)}
    assert used == {(module, name) for module, names in IMPORTED.items() for name in names}


def test_every_private_attribute_of_others_is_listed_and_used() -> None:
    used = {
        (file, node.attr)
        for file, tree in SOURCES
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _is_private(node.attr)
        if node.attr not in PUBLIC | OURS or node.attr in READ.get(file, {})
    }
    assert used == {(file, name) for file, names in READ.items() for name in names}


def _overrides(file: str, tree: ast.Module) -> set[tuple[str, str]]:
    """Return which private methods of a library's class a class of this module has, too."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    with_own = [
        node.name
        for node in classes
        if node.bases
        and any(isinstance(each, ast.FunctionDef) and _is_private(each.name) for each in node.body)
    ]
    if not with_own:
        return set()
    module = file.removesuffix(".py").replace("/", ".")
    own = [getattr(import_module(module), name) for name in with_own]
    return {
        (module, name)
        for cls in own
        for name in filter(_is_private, vars(cls))
        for base in cls.__mro__[1:]
        if base.__module__.split(".")[0] not in {*PACKAGES, "builtins"}
        and callable(vars(base).get(name))
    }


def test_every_private_method_that_is_overridden_is_listed_and_there() -> None:
    overridden = set().union(*(_overrides(file, tree) for file, tree in SOURCES))
    assert overridden == {(module, name) for module, names in OVERRIDDEN.items() for name in names}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in IMPORTED.items() for name in names]
)
def test_what_is_imported_is_where_it_was(module: str, name: str) -> None:
    try:
        is_there = hasattr(import_module(module), name)
    except ImportError:
        is_there = False
    library = module.split(".")[0]
    assert is_there, (
        f"{module}.{name} has moved in {library} {version(library)}. It is used for: "
        f"{IMPORTED[module][name]}, in {', '.join(_where_it_is_used(module, name))}"
    )


def _booster() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = [[float(number)] for number in range(40)]
    return HistGradientBoostingClassifier(max_iter=1, early_stopping=False).fit(
        rows, [number % 2 for number in range(40)]
    )


def _waiting() -> Any:
    from dagster import DagsterInstance
    from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
    from dagster._core.storage.dagster_run import DagsterRun

    return InstanceConcurrencyContext(DagsterInstance.ephemeral(), DagsterRun(job_name="any"))


def _feast_utils() -> Any:
    return import_module("feast.utils")


@pytest.mark.parametrize(
    ("file", "whose"),
    list(zip(READ, (_booster, _waiting, _feast_utils), strict=True)),
)
def test_what_is_read_is_where_it_was(file: str, whose: Any) -> None:
    holder = whose()
    for name, reason in READ[file].items():
        assert hasattr(holder, name), f"{name} has moved: {file} needs it, {reason}"
