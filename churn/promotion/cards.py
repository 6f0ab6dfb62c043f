"""Keeping the cards: one per release, in the reports folder and beside its version in MLflow."""

import json
import tempfile
from pathlib import Path

from churn.markdown import to_html
from churn.mlflow_client import mlflow_client
from churn.promotion import ledger
from churn.promotion.card import Records, card
from churn.promotion.entry import Entry
from churn.promotion.measure import read_judges
from churn.promotion.registry import MlflowRegistry, version_of
from churn.promotion.release import Release
from churn.settings import get_settings
from churn.training.dataset import training_set_path

CARD_FOLDER = "card"  # in the artefacts of a version's run


def card_path(release: Release) -> Path:
    """Return where the card of a release is kept; its HTML lies beside it."""
    return get_settings().reports / "releases" / f"{release.short_id}.md"


def write_missing_cards() -> list[Path]:
    """Write the card of every release that has none yet; return their paths."""
    promoted: dict[str, Entry] = {}
    for entry in ledger.entries():
        if entry.outcome == "promote" and entry.release_id:
            promoted.setdefault(entry.release_id, entry)
    kept = ledger.releases()
    return [
        _write(kept[release_id], entry)
        for release_id, entry in promoted.items()
        if not card_path(kept[release_id]).with_suffix(".html").exists()
    ]


def _write(release: Release, entry: Entry) -> Path:
    text = card(_records(release, entry))
    path = card_path(release)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    html = to_html(text, f"Release {release.short_id}")
    client = mlflow_client()
    run_id = str(version_of(release).run_id)
    client.log_text(run_id, text, f"{CARD_FOLDER}/model_card.md")
    client.log_text(run_id, html, f"{CARD_FOLDER}/model_card.html")
    path.with_suffix(".html").write_text(html, encoding="utf-8")  # the last step: now it is whole
    return path


def _records(release: Release, entry: Entry) -> Records:
    month = entry.month or release.month
    judges = read_judges(month) if training_set_path(month).exists() else None
    return Records(
        release,
        entry,
        _lineage(release),
        judges,
        MlflowRegistry().probabilities(release, judges.frame) if judges else None,
        get_settings().gate,
    )


def _lineage(release: Release) -> dict[str, object]:
    client = mlflow_client()
    run_id = str(version_of(release).run_id)
    if not any(each.path == "lineage.json" for each in client.list_artifacts(run_id)):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(client.download_artifacts(run_id, "lineage.json", folder))
        found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return found
