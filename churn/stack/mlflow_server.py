"""`python -m churn.stack.mlflow_server`: MLflow's tracking server, loading MLflow only once.

`mlflow server` loads all of MLflow in order to start gunicorn, whose worker then loads it again. Here,
gunicorn loads it and forks. The stores are set by MLflow's own variables, MLFLOW_BACKEND_STORE_URI and
MLFLOW_ARTIFACTS_DESTINATION; the options are gunicorn's. The database must be ready already.
"""

import os

from gunicorn.app.wsgiapp import WSGIApplication  # type: ignore[import-untyped]


class MlflowServer(WSGIApplication):  # type: ignore[misc]
    """Gunicorn with MLflow's application, loaded before it forks."""

    def init(self, parser: object, opts: object, args: list[str]) -> None:
        """Take gunicorn's options, and have the application loaded before the fork."""
        super().init(parser, opts, ["mlflow.server:app", *args])
        self.cfg.set("preload_app", True)

    def load(self) -> object:
        """Tell MLflow where its stores are, as its own command tells its workers."""
        from mlflow.server import app, constants

        store, artifacts = (
            os.environ[name]
            for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION")
        )
        os.environ |= {
            constants.BACKEND_STORE_URI_ENV_VAR: store,
            constants.REGISTRY_STORE_URI_ENV_VAR: store,
            constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
            constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
            constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        }
        return app


if __name__ == "__main__":
    MlflowServer("%(prog)s [OPTIONS]").run()
