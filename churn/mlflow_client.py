"""MLflow: how to reach it, without its global state, so that threads and processes do not share runs."""

import functools
import importlib
import logging
from typing import TYPE_CHECKING

from churn.errors import ChurnError
from churn.retry import repeat
from churn.settings import get_settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import httpx
    from mlflow import MlflowClient


LOG = logging.getLogger(__name__)


def mlflow_client() -> "MlflowClient":
    """Return a client of the tracking server and registry.

    MLflow repeats its calls by a rule of its own, which is bounded here, whatever they do. If the answer to
    a call that creates something is lost, there is at worst a run or a version that nothing refers to. Such
    a run is ended with its parent, and a version without the tag `checks_passed` is never promoted.

    Raises:
        ChurnError: MLflow does not answer.
    """
    import httpx
    from mlflow import MlflowClient

    _configure()
    load_request_headers()
    uri = get_settings().mlflow_tracking_uri
    if uri.startswith("http"):
        try:
            repeat(_ask_health, uri)
        except httpx.HTTPError as error:
            raise ChurnError(
                f"MLflow does not answer: {error}",
                where=uri,
                remedy="start the stack with `churn up`, or set MLFLOW_TRACKING_URI",
            ) from error
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _configure() -> None:
    """Configure MLflow's client; retries that the environment configures stay as they are."""
    from mlflow.environment_variables import (
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT,
    )

    # Progress bars are shown by our own commands only.
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    # Standard output is for answers, such as `--json` and tables.
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    # It retries at once, then after 2, 4 and 8 s, each with up to 1 s of jitter. Its default takes four
    # minutes.
    bounds = {
        MLFLOW_HTTP_REQUEST_MAX_RETRIES: 4,
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR: 1,
        MLFLOW_HTTP_REQUEST_TIMEOUT: 60,
    }
    for variable, value in bounds.items():
        if not variable.is_set():
            variable.set(value)


@functools.cache
def load_request_headers() -> None:
    """Load, once, the plugins that add headers to MLflow's requests, but not Feast's.

    Feast's plugin would load all of Feast in every process that talks to MLflow, which takes longer than all
    else the process does; and it would send the service-account token of a Kubernetes pod to whichever MLflow
    is asked. MLflow's own way to log in is MLFLOW_TRACKING_TOKEN, or a user and a password.
    """
    from mlflow.utils import plugins

    every = plugins.get_entry_points

    def without_feast(group: str) -> "list[EntryPoint]":
        return [plugin for plugin in every(group) if not plugin.value.startswith("feast.")]

    plugins.get_entry_points = without_feast
    try:
        # Importing it asks for the entry points, once.
        importlib.import_module("mlflow.tracking.request_header.registry")
    finally:
        plugins.get_entry_points = every


def _ask_health(uri: str) -> None:
    _http(uri.startswith("https")).get(f"{uri.rstrip('/')}/health").raise_for_status()


@functools.cache
def _http(tls: bool) -> "httpx.Client":
    """Return a client that keeps its connections; without TLS it skips the slow loading of certificates."""
    import httpx

    return httpx.Client(timeout=10, verify=tls)


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment called `name`, which is created if need be.

    An experiment that was deleted in MLflow's UI is restored with all of its runs: MLflow would neither
    record in it nor let another one have its name.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        LOG.warning("MLflow: the experiment %s was deleted; it is restored, with its runs", name)
        try:
            client.restore_experiment(experiment.experiment_id)
        except MlflowException as error:
            # Another process may have restored it first.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another process created it first.
            experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id)


def ensure_registered_model(client: "MlflowClient", name: str, description: str) -> None:
    """Create the registered model called `name` unless it exists."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
