"""A database as the last commit without migrations made it, with three months in it.

`version_1.sql.gz` is what pg_dump 18.6 wrote (--no-owner --no-privileges, without Feast's rows) of
60 users of the public population, seed 7: January to March delivered as history and taken through every stage
to the online table, March without labels, and a correction of February that lacks two users; a release, an
entry of the ledger, a score list, treatments, a row each of drift and performance. `version_1_state.tar.gz`
holds the deliveries of the state folder, and the drop of April, which was not delivered.
"""

import gzip
import os
import subprocess
import tarfile
from pathlib import Path

import psycopg
import pytest

from churn.settings import Settings
from churn.stack.postgres import program

HERE = Path(__file__).parent


@pytest.fixture
def version_1(settings: Settings) -> Settings:
    """Settings of a database and state folder of version 1."""
    name = settings.postgres_db
    with psycopg.connect(settings.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    subprocess.run(
        [
            str(program("psql")),
            "--quiet",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            f"--host={settings.postgres_host}",
            f"--port={settings.postgres_port}",
            f"--username={settings.postgres_user}",
            f"--dbname={name}",
        ],
        input=gzip.decompress((HERE / "version_1.sql.gz").read_bytes()),
        env={**os.environ, "PGPASSWORD": settings.postgres_password.get_secret_value()},
        check=True,
        capture_output=True,
    )
    with tarfile.open(HERE / "version_1_state.tar.gz") as tar:
        tar.extractall(settings.home, filter="data")
    return settings
