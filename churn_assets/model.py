"""Group `model`: the models of a month, the champion, and the backtest, as Dagster sees them.

How a model is fitted is `churn.model`; which release becomes champion is decided in `churn.promotion`.
"""

from collections.abc import Sequence

import dagster as dg

from churn.contract.in_force import DEFAULT_SERVICE, plain_name
from churn.evaluation.metrics import CONFUSION, calibration_bound
from churn.markdown import table
from churn.mlflow_client import mlflow_client
from churn.model.backtest import backtest as run_backtest
from churn.model.backtest import (
    backtest_fingerprint,
    backtest_json,
    backtest_png,
    backtest_table,
    keep_rows,
    kept_rows,
)
from churn.model.candidates import Candidate
from churn.model.onnx import TOLERANCE, DifferentModel
from churn.model.tracking import LoggedModel, log_files
from churn.model.train import TrainedModel, train_models
from churn.promotion.cards import card_path, write_missing_cards
from churn.promotion.decide import take_due_decisions
from churn.promotion.entry import NO_RELEASE, decisions, evidence_table, sentence, sha256
from churn.promotion.ledger import Release, entries, release_in_force
from churn.promotion.registry import mark_checked
from churn.verification.leaks import CONFIDENCE, LeakSearch, look_for_leaks
from churn_assets.monthly import (
    Check,
    CheckFailed,
    MonthResult,
    MonthStep,
    Outcome,
    monthly_asset,
    picture,
    previous,
    refuse_failed,
)

ONNX_MATCHES = Check(
    "onnx_matches",
    f"The ONNX model's probabilities equal scikit-learn's within {TOLERANCE:g} on the hold-out; "
    "checked before anything is registered.",
)
BEATS_CHANCE = Check(
    "beats_chance",
    "AUC on the hold-out is above 0.5 for every model; checked before anything is registered.",
)
CALIBRATED = Check(
    "calibrated",
    "The challenger's calibration error on the hold-out is no larger than sampling explains.",
    blocking=False,
)
NO_LEAK = Check(
    "no_leak",
    "No model ranks the hold-out users better than the true probabilities of the simulated world do"
    f" ({CONFIDENCE:.1%} one-sided). Passes as not applicable where the truth is unknown.",
)
_CHECKS = (ONNX_MATCHES, BEATS_CHANCE, CALIBRATED, NO_LEAK)


def model_assets() -> list[dg.AssetsDefinition]:
    """Return the asset that fits a month's models."""
    return [
        monthly_asset(
            "churn_model",
            churn_model,
            group="model",
            kinds={"scikitlearn", "mlflow", "onnx"},
            deps=["training_dataset"],
            checks=_CHECKS,
            pool="training",
        )
    ]


def churn_model(step: MonthStep) -> MonthResult:
    """The month's models, registered in MLflow: a baseline forest per feature service, and a challenger.

    They are fitted on the users of the label period who are not held out, and judged on those who are: a
    permanent quarter, chosen by a hash of user_id. The challenger is the best of all kinds of model (forest,
    logistic regression, gradient boosting) on both feature services; it is tuned, chosen and calibrated on
    the training users alone. The gate decides a month later whether it is served, which is done by its ONNX
    file. All checks are evaluated before the first of the models is registered.
    """
    outcomes: list[Outcome] = []

    def judge(models: Sequence[LoggedModel]) -> None:
        outcomes.extend(_outcomes(models))
        names = [*map(_name, models[:-1]), f"challenger, {_name(models[-1])}"]
        fitted = [model.fitted for model in models]
        outcomes.append(_no_leak(look_for_leaks(step.month, dict(zip(names, fitted, strict=True)))))
        refuse_failed(outcomes, _CHECKS)

    try:
        month_models = train_models(
            step.month,
            parent_run_id=step.parent_record_id,
            dagster_run_id=step.dagster_run_id,
            judge=judge,
        )
    except DifferentModel as error:
        outcome = Outcome(ONNX_MATCHES.name, False, {"difference": error.difference}, str(error))
        raise CheckFailed(outcome) from error
    models = [*month_models.baselines, month_models.challenger]
    default = next(
        m for m in month_models.baselines if plain_name(m.service) == DEFAULT_SERVICE.name
    )
    metadata = {
        "models": dg.MetadataValue.md(_summary(models)),
        "candidates": dg.MetadataValue.md(_candidates(month_models.candidates)),
        "auc": default.metrics["auc"],
        "f1": default.metrics["f1"],
        "accuracy": default.metrics["accuracy"],
        "train_time_sec": default.metrics["train_time_sec"],
        "model_version": default.version,
        "challenger_version": month_models.challenger.version,
        **{
            f"plots_{model.service}": picture(model.report_png, model.service)
            for model in month_models.baselines
        },
        "plots_challenger": picture(
            month_models.challenger.report_png, month_models.challenger.service
        ),
    }
    return MonthResult(default.rows, default.fingerprint, metadata, outcomes)


def _outcomes(models: Sequence[LoggedModel]) -> list[Outcome]:
    worst = max(model.onnx_max_difference for model in models)
    aucs = {_name(model): model.fitted.metrics["auc"] for model in models}
    challenger = models[-1].fitted
    users = sum(challenger.metrics[name] for name in CONFUSION)
    error = challenger.metrics["calibration_error"]
    bound = calibration_bound(int(users))
    by_chance = [f"{name} {auc:.3f}" for name, auc in aucs.items() if not auc > 0.5]
    return [
        Outcome(
            ONNX_MATCHES.name,
            worst <= TOLERANCE,
            {"largest_difference": worst},
            f"the ONNX model is off by {worst:.3g}, more than {TOLERANCE:g}"
            if not worst <= TOLERANCE
            else None,
        ),
        Outcome(
            BEATS_CHANCE.name,
            not by_chance,
            {"auc": aucs},
            f"the AUC on the {int(users):,} users held out is not above 0.5: {', '.join(by_chance)}\n"
            "  -> the features say nothing of who leaves: look whether the file of the labels belongs to this"
            " month and to these users; nothing of this month is promoted"
            if by_chance
            else None,
        ),
        Outcome(
            CALIBRATED.name,
            error <= bound,
            {"calibration_error": error, "bound": bound},
            f"the challenger's calibration error is {error:.4f} on {int(users):,} users held out, sampling"
            f" explains {bound:.4f}; profits are estimated with that error"
            if not error <= bound
            else None,
        ),
    ]


def _no_leak(search: LeakSearch) -> Outcome:
    figures = {
        name: {
            "auc": verdict.model_auc,
            "truth_auc": verdict.truth_auc,
            "difference": verdict.difference.estimate,
            "lower_bound": verdict.difference.low,
            "users": verdict.users,
        }
        for name, verdict in search.verdicts.items()
    }
    return Outcome(NO_LEAK.name, not search.leaks, {"against_truth": figures}, search.summary)


def _name(model: LoggedModel) -> str:
    return f"{model.fitted.kind.name} on {model.fitted.service.recorded_name}"


def _summary(models: list[TrainedModel]) -> str:
    head = ("model", "service", "version", "AUC", "F1", "accuracy", "Brier", "fit, s")
    rows = [
        (
            f"{model.kind}{' (challenger)' if model is models[-1] else ''}",
            model.service,
            model.version,
            *(f"{model.metrics[name]:.4f}" for name in ("auc", "f1", "accuracy", "brier")),
            f"{model.metrics['train_time_sec']:.2f}",
        )
        for model in models
    ]
    return "\n".join(table(head, rows))


def _candidates(candidates: list[Candidate]) -> str:
    head = ("out of fold", "log-loss", "AUC", "Brier", "tuned in, s")
    rows = [
        (c.name, *(f"{figure:.4f}" for figure in (c.log_loss, c.auc, c.brier)), f"{c.seconds:.2f}")
        for c in sorted(candidates, key=lambda candidate: candidate.log_loss)
    ]
    return "\n".join(table(head, rows))


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
    """The decision that the month's labels allow: does the challenger of the month before become champion?

    Both are judged on users whom neither has seen, in a month that neither was trained on; a first release
    is judged on its own month. Decisions are taken in decision time, whatever the order of the runs, and
    recorded in the promotion ledger (`churn ledger`). The alias `champion` of the registered model repeats
    what the ledger says, and the API picks it up without a restart.
    """
    mark_checked(step.month)
    taken = take_due_decisions(fresh=step.month, alarm=step.alarm)
    decided = decisions(entries()).get(step.month)
    in_force, served = release_in_force(step.month.matures_at), release_in_force()
    # Once this month is decided, what is waited for is another month's.
    waiting = None if decided else taken.waiting
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
    if release is None:
        return NO_RELEASE
    path = card_path(release)
    if not path.exists():
        return f"The card of release {release.short_id} cannot be written: the log of this step says why."
    return path.read_text(encoding="utf-8")


NOTHING_BEFORE = "nothing before it: the first month is judged by no window"
# In months. The mapping wants a number, though the windows have no limit.
_LONGEST = 240


def backtest_assets() -> list[dg.AssetsDefinition]:
    """Return the backtest's asset."""
    so_far = dg.TimeWindowPartitionMapping(
        start_offset=-_LONGEST, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return [
        monthly_asset(
            "backtest",
            backtest,
            group="model",
            kinds={"scikitlearn", "postgres"},
            deps=[dg.AssetDep("training_dataset", partition_mapping=so_far)],
            pool="training",
        )
    ]


def backtest(step: MonthStep) -> MonthResult:
    """Models of the months before this one, judged on this month's hold-out users.

    They are trained on the month before, and on all months so far (at most 100,000 rows, by a hash of
    user_id). Hold-out users are never trained on in any month. Each month adds its rows to
    `monitoring.backtests`; the table and the plot show every month so far, with 95 % bootstrap intervals.
    """
    rows = run_backtest(step.month)
    keep_rows(step.month, rows)
    so_far = kept_rows(step.month)
    fingerprint = backtest_fingerprint(rows)
    if not so_far:
        return MonthResult(0, fingerprint, {"says": NOTHING_BEFORE})
    png, text = backtest_png(so_far), backtest_table(so_far)
    files = {
        "backtest.png": png,
        "backtest.md": text.encode(),
        "backtest.json": backtest_json(so_far).encode(),
    }
    log_files(mlflow_client(), step.record_id, files)
    metadata = {
        "says": f"{len(rows)} models judged" if rows else NOTHING_BEFORE,
        "months": len({row.month for row in so_far}),
        "backtest": dg.MetadataValue.md(text),
        "plot": picture(png, "backtest"),
    }
    return MonthResult(len(rows), fingerprint, metadata)
