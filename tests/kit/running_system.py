"""One running system as people and programs meet it: commands, addresses, answers."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.kit.waiting import PATIENCE


@dataclass(frozen=True)
class System:
    """A state folder with ports of its own, and the environment that says so."""

    told: dict[str, str]

    @property
    def home(self) -> Path:
        return Path(self.told["CHURN_HOME"])

    @property
    def ports(self) -> list[int]:
        names = ("CONSOLE_PORT", "DAGSTER_PORT", "MLFLOW_PORT", "API_PORT")
        return [int(self.told[name]) for name in names]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a churn command in a process group of its own, as a terminal does."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "churn.cli.main", *arguments],
            env=self.told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def churn(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a churn command to its end."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "churn.cli.main", *arguments],
            env=self.told, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        return httpx.request(
            method, f"http://127.0.0.1:{self.told['API_PORT']}{path}", timeout=120, **more
        )

    def mlflow(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask MLflow's REST API: GET without a body, else POST."""
        url = f"http://127.0.0.1:{self.told['MLFLOW_PORT']}/api/2.0/mlflow/{path}"
        answer = httpx.request("POST" if body else "GET", url, json=body or None, timeout=120)
        return dict(answer.raise_for_status().json())

    def dagster(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the GraphQL API that the Dagster UI uses."""
        url = f"http://127.0.0.1:{self.told['DAGSTER_PORT']}/graphql"
        asked = {"query": query, "variables": variables}
        answer = httpx.post(url, json=asked, timeout=120).raise_for_status().json()
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])

    def leftovers(self) -> list[str]:
        """Name the processes that work in, on or for the state folder."""
        left_over = []
        for process in psutil.process_iter():
            try:
                facts = [process.cwd(), *process.cmdline(), process.environ().get("CHURN_HOME", "")]
            except psutil.Error:
                continue
            if process.pid != os.getpid() and any(str(self.home) in fact for fact in facts):
                left_over.append(f"{process.pid} {' '.join(process.cmdline())}")
        return left_over

    def listening(self) -> set[int]:
        """Return which of these ports somebody listens on."""
        return {
            address.port
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
            and (address := connection.laddr)
            and address.port in self.ports
        }
