"""The pictures of README and docs, taken from the stack that is up: `python docs/screenshots.py`.

Needs months in it (`make demo` in another shell) and a Chromium, on Debian that of `apt-get install
chromium`. Nothing in a picture is drawn or edited; it is cut to what matters.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from playwright.sync_api import Browser, Page, sync_playwright

from churn.errors import ChurnError
from churn.settings import get_settings

IMAGES = Path(__file__).parent / "images"
GROUPS = (
    "raw", "snapshots", "feature_views", "online", "training", "model", "scores", "monitoring", "reports",
)  # fmt: skip
_PATIENCE_MS = 60_000
_TOP, _MARGIN = 125, 30  # pixels: where the graph is to begin, and what is left around it
_EXTENT = """() => {
  const boxes = [...document.querySelectorAll("svg foreignObject")].map(b => b.getBoundingClientRect());
  return {
    top: Math.min(...boxes.map(b => b.top)),
    right: Math.max(...boxes.map(b => b.right)),
    bottom: Math.max(...boxes.map(b => b.bottom)),
  };
}"""
_DAGSTER = {"dagster-nav-collapsed": True, "asset-graph-direction": "horizontal"}
_MLFLOW = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.assistant.panelOpen_v1": False,
    "mlflow.workflowType_v1": "machine_learning",
}


def main(
    month: Annotated[str, typer.Option(help="The month shown, one with a model.")] = "2024-03-01",
    out: Annotated[Path, typer.Option(help="Where the pictures go.")] = IMAGES,
    chromium: Annotated[str, typer.Option(help="The browser's program.")] = "",
) -> None:
    """Take every picture."""
    settings = get_settings()
    program = chromium or shutil.which("chromium")
    if program is None:
        raise ChurnError("there is no Chromium", remedy="apt-get install chromium")
    dagster = f"http://127.0.0.1:{settings.dagster_port}"
    out.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium's own does not run as root
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        take_graph(browser, dagster, GROUPS[2:], out / "graph.png", 1500)
        take_graph(browser, dagster, GROUPS, out / "graph-all.png", 1700)
        with page(browser, (1500, 960), _DAGSTER) as tab:
            tab.goto(f"{dagster}/assets/churn_model?view=partitions&partition={month}")
            tab.get_by_text("plots_churn_rich").wait_for()
            tab.screenshot(path=out / "asset.png")
            tab.goto(f"{dagster}/assets/online_features?view=checks")
            tab.get_by_text("values_compared").first.wait_for()
            tab.screenshot(path=out / "checks.png")
        take_records(browser, settings.mlflow_tracking_uri, out / "mlflow.png")


def take_graph(
    browser: Browser, dagster: str, groups: tuple[str, ...], path: Path, width: int
) -> None:
    """Take the asset graph with these groups opened, once every asset's status is there.

    The UI fits the graph to the window's width, and leaves out what the boxes say where that is narrow.
    """
    opened = ",".join(f"global@global:{group}" for group in groups)
    with page(browser, (width, width * 3 // 2), _DAGSTER) as tab:
        tab.goto(f"{dagster}/asset-groups?expanded={opened}")
        tab.locator("button:has([aria-label=panel_show_right])").first.click()
        tab.get_by_text("monthly_report").first.wait_for()
        tab.get_by_text("fetching statuses").first.wait_for(state="detached")
        tab.get_by_text("Loading…").first.wait_for(state="detached")
        tab.wait_for_load_state("networkidle")
        corner = width - 100, 150  # nothing is there to be dragged instead
        tab.mouse.move(*corner)
        tab.mouse.down()
        tab.mouse.move(corner[0], corner[1] + _TOP - tab.evaluate(_EXTENT)["top"], steps=5)
        tab.mouse.up()
        tab.mouse.move(0, 0)
        tab.wait_for_timeout(5_000)  # nodes fade from grey to their colour
        extent = tab.evaluate(_EXTENT)
        cut = {"width": extent["right"] + _MARGIN, "height": extent["bottom"] + _MARGIN}
        tab.screenshot(path=path, clip={"x": 0, "y": 0, **cut})


def take_records(browser: Browser, mlflow: str, path: Path) -> None:
    """Take MLflow's list of runs with the newest training opened."""
    name = get_settings().mlflow_experiment
    found = httpx.get(
        f"{mlflow}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": name}
    )
    experiment = found.raise_for_status().json()["experiment"]["experiment_id"]
    columns = [f"metrics.`{name}`" for name in ("rows", "auc", "f1")]
    columns.append("params.`fingerprint`")
    state = f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState'
    with page(
        browser,
        (1500, 960),
        {**_MLFLOW, state: {"selectedColumns": columns}},
    ) as tab:
        tab.goto(f"{mlflow}/#/experiments/{experiment}/runs?compareRunsMode=TABLE")
        tab.get_by_text("train_month").first.wait_for()
        tab.locator(".ag-row").filter(has_text="train_month").first.locator("button").first.click()
        tab.get_by_text("churn_model").first.wait_for()
        tab.wait_for_timeout(2_000)
        tab.screenshot(path=path)


@contextmanager
def page(browser: Browser, size: tuple[int, int], stored: dict[str, object]) -> Iterator[Page]:
    """Open a page in light colours, with entries of the UI's own local storage set beforehand."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="light", timezone_id="UTC"
    )
    context.set_default_timeout(_PATIENCE_MS)
    entries = json.dumps({key: json.dumps(value) for key, value in stored.items()})
    context.add_init_script(
        f"for (const [k, v] of Object.entries({entries})) localStorage.setItem(k, v)"
    )
    try:
        yield context.new_page()
    finally:
        context.close()


if __name__ == "__main__":
    typer.run(main)
