# Two images. `platform` has no code of ours: MLflow and Dagster's daemon. `app` adds it: init, code, webserver, api, console.
# Everything that is installed comes from a lock with hashes; sources come last, so that an edit rebuilds no more
# than a small layer.
FROM python:3.11.14-slim-bookworm AS python
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

FROM python AS locked
ENV UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements-uv.lock requirements-runtime.lock ./
RUN --mount=type=cache,target=/root/.cache \
    python -m pip install --no-cache-dir --require-hashes --requirement requirements-uv.lock \
    && uv venv /opt/venv \
    && uv pip sync --python /opt/venv/bin/python --require-hashes --compile-bytecode requirements-runtime.lock

FROM locked AS wheel
COPY pyproject.toml README.md requirements.lock dagster.yaml workspace.yaml ./
COPY churn churn
COPY churn_assets churn_assets
COPY feature_repo feature_repo
COPY api api
COPY console console
# The build backend is pinned too, by the whole lock.
RUN --mount=type=cache,target=/root/.cache \
    uv build --wheel --build-constraints requirements.lock --require-hashes --out-dir /dist

FROM python AS platform
# A service writes to its volumes and to /tmp only: the root file system can be read-only.
ENV DAGSTER_HOME=/opt/dagster \
    GIT_PYTHON_REFRESH=quiet \
    HOME=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true \
    MPLCONFIGDIR=/tmp/matplotlib \
    TMPDIR=/tmp
# A new volume takes the owner of the folder that it covers. Dagster's webserver and daemon make `logs` and
# `.logs_queue` even with telemetry off; they stay empty.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin churn \
    && install --directory --mode=0700 --owner=churn --group=churn /var/lib/churn /var/lib/mlflow /opt/dagster/storage \
    && install --directory /opt/dagster/logs /opt/dagster/.logs_queue
COPY --from=locked /opt/venv /opt/venv
COPY dagster.yaml workspace.yaml /opt/dagster/
WORKDIR /opt/dagster
USER 10001:10001

FROM platform AS app
USER 0:0
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-index --compile /dist/*.whl
USER 10001:10001
