"""Group `model`: the models of a month, one per feature service."""

import base64
from collections.abc import Sequence

import dagster as dg

from churn.contract.features import DEFAULT_SERVICE, plain_name
from churn.evaluation.metrics import CONFUSION, calibration_bound
from churn.model.candidates import Candidate
from churn.model.monthly import TrainedModel, train_models
from churn.model.onnx_graph import TOLERANCE, DifferentModel
from churn.model.tracking import LoggedModel
from churn.verification.canary import CONFIDENCE
from churn.verification.leaks import LeakSearch, look_for_leaks
from churn_assets.monthly import (
    Check,
    CheckFailed,
    MonthResult,
    MonthStep,
    Outcome,
    monthly_asset,
    refuse_failed,
)

ONNX_MATCHES = Check(
    "onnx_matches",
    f"The ONNX model's probabilities equal scikit-learn's within {TOLERANCE:g} on the hold-out; "
    "looked at before anything is registered.",
)
BEATS_CHANCE = Check(
    "beats_chance",
    "AUC on the hold-out is above .5 for every model; looked at before anything is registered.",
)
CALIBRATED = Check(
    "calibrated",
    "The challenger's probabilities hold on the hold-out: their calibration error is no more than "
    "sampling explains.",
    blocking=False,
)
NO_LEAK = Check(
    "no_leak",
    "No model orders the hold-out users better than the true probabilities of the simulated world do"
    f" ({CONFIDENCE:.1%} one-sided); passes as not applicable where nobody knows the truth.",
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
    """The month's models, registered in MLflow: the baseline forest per feature service, and a challenger.

    Fitted on the users of the label period who are not held out (a permanent quarter, by a hash of
    user_id) and judged on those who are. The challenger is the best of all kinds of model (forest, logistic
    regression, gradient boosting) on both feature services, tuned and chosen inside the training users and
    calibrated there; the gate decides a month later whether it is served. Each model's ONNX twin is what
    serves. All checks are looked at before the first of the models is registered.
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
        "candidates": dg.MetadataValue.md(_table(month_models.candidates)),
        "auc": default.metrics["auc"],
        "f1": default.metrics["f1"],
        "accuracy": default.metrics["accuracy"],
        "train_time_sec": default.metrics["train_time_sec"],
        "model_version": default.version,
        "challenger_version": month_models.challenger.version,
        **{f"plots_{model.service}": _picture(model) for model in month_models.baselines},
        "plots_challenger": _picture(month_models.challenger),
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
    head = (
        "| model | service | version | AUC | F1 | accuracy | Brier | fit, s |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {m.kind}{' (challenger)' if m is models[-1] else ''} | {m.service} | {m.version}"
        f" | {m.metrics['auc']:.4f} | {m.metrics['f1']:.4f} | {m.metrics['accuracy']:.4f}"
        f" | {m.metrics['brier']:.4f} | {m.metrics['train_time_sec']:.2f} |"
        for m in models
    )


def _table(candidates: list[Candidate]) -> str:
    head = "| out of fold | log-loss | AUC | Brier | tuned in, s |\n|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {c.name} | {c.log_loss:.4f} | {c.auc:.4f} | {c.brier:.4f} | {c.seconds:.2f} |"
        for c in sorted(candidates, key=lambda candidate: candidate.log_loss)
    )


def _picture(model: TrainedModel) -> dg.MetadataValue:
    encoded = base64.b64encode(model.report_png).decode()
    return dg.MetadataValue.md(f"![{model.service}](data:image/png;base64,{encoded})")
