"""The page: its sections in order, written as Markdown, as HTML and with its pictures."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from churn.contract.model import REGISTERED_MODEL
from churn.markdown import to_html
from churn.mlflow_client import mlflow_client
from churn.model.monthly import TrainedModel, challenger, trained_models
from churn.model.tracking import REPORT_PATH
from churn.months import Month
from churn.reports import sections
from churn.settings import get_settings


def write_report(month: Month, user_id: str) -> tuple[Path, str]:
    """Write `<month>.md` and `<month>.html` in the reports folder; return the first's path and text.

    Args:
        month: the month.
        user_id: the user of the worked example.
    """
    best = challenger(month)
    models = [*trained_models(month), *([best] if best else [])]
    folder = get_settings().reports
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(_lines(month, models, _pictures(month, models[-1:], folder), user_id)) + "\n"
    path = folder / f"{month}.md"
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".html").write_text(
        to_html(text, f"StreamFlow churn, {month}"), encoding="utf-8"
    )
    return path, text


def _lines(
    month: Month, models: Sequence[TrainedModel], pictures: Sequence[str], user_id: str
) -> itertools.chain[str]:
    return itertools.chain(
        sections.head(month),
        sections.data(month),
        sections.models(month, models, pictures),
        sections.decision(month),
        sections.use(month),
        sections.watch(month),
        sections.behind(),
        sections.proof(user_id),
    )


def _pictures(month: Month, models: Sequence[TrainedModel], folder: Path) -> list[str]:
    """Fetch the plots of models from their records; return the names of the files."""
    client, names = mlflow_client(), []
    for model in models:
        version = client.get_model_version(REGISTERED_MODEL, model.version)
        with tempfile.TemporaryDirectory() as temporary:
            found = client.download_artifacts(version.run_id, REPORT_PATH, temporary)
            names.append(f"{month}-{model.kind}.png")
            (folder / names[-1]).write_bytes(Path(found).read_bytes())
    return names
