"""Group `model`: the champion, decided in decision time and served through MLflow's alias."""

import dagster as dg

from churn.promotion.canonical import sha256
from churn.promotion.cards import card_path, write_missing_cards
from churn.promotion.decide import take_due_decisions
from churn.promotion.ledger import entries, release_in_force
from churn.promotion.registry import mark_checked
from churn.promotion.release import Release
from churn.promotion.show import NO_RELEASE, evidence_table, sentence
from churn.promotion.timeline import decisions
from churn_assets.monthly import MonthResult, MonthStep, monthly_asset, previous


def champion_assets() -> list[dg.AssetsDefinition]:
    """Return the asset that decides which release is served."""
    candidates = dg.TimeWindowPartitionMapping(
        start_offset=-1, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return [
        monthly_asset(
            "champion",
            champion,
            group="model",
            kinds={"mlflow", "postgres"},
            deps=[
                "training_dataset",
                dg.AssetDep("churn_model", partition_mapping=candidates),
                previous("champion"),
            ],
        )
    ]


def champion(step: MonthStep) -> MonthResult:
    """The decision on the month's labels: does the challenger of the month before become champion?

    Both are judged on users whom neither has seen, in a month neither was trained on; the first release
    is judged on its own month. Decisions are taken in decision time, whatever the order of the runs, and
    kept in the promotion ledger (`churn ledger`). The alias `champion` of the registered model repeats what
    the ledger says; the API picks it up without a restart.
    """
    mark_checked(step.month)
    taken = take_due_decisions(fresh=step.month, alarm=step.alarm)
    decided = decisions(entries()).get(step.month)
    in_force, served = release_in_force(step.month.matures_at), release_in_force()
    waiting = None if decided else taken.waiting  # a later month's is not this one's
    waits_for = f"{waiting.month}: {waiting.for_what}" if waiting else "nothing"
    write_missing_cards()
    metadata = {
        "decision": sentence(decided),
        "evidence": dg.MetadataValue.md(evidence_table(decided)),
        "in_force": f"{in_force.short_id}, version {in_force.version}" if in_force else NO_RELEASE,
        "champion_version": served.version if served else NO_RELEASE,
        "decided_now": [f"{each.seq}: {each.month} {each.outcome}" for each in taken.entries],
        "waits_for": waits_for,
        "asked_for_by": step.alarm or "the calendar",
        "model_card": dg.MetadataValue.md(_card(in_force)),
    }
    return MonthResult(1, decided.content_hash if decided else sha256(waits_for), metadata)


def _card(release: Release | None) -> str:
    return card_path(release).read_text(encoding="utf-8") if release else NO_RELEASE
