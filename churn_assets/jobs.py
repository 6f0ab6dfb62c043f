"""The jobs of a month: close it, train on it once its labels are there, score it, backtest on it."""

import dagster as dg

from churn.contract.in_force import LABELS, PROFILE_TABLES, VIEWS

# Tags of a run: what its month rests on, and the number of the attempt at it, from 1.
VERSION_TAG = "churn/version"
ATTEMPT_TAG = "churn/attempt"

CLOSE_KEYS = [
    *(table.name for table in PROFILE_TABLES),
    *(table.snapshot for table in PROFILE_TABLES),
    *(view.name for view in VIEWS),
    "online_features",
]
TRAIN_KEYS = [
    LABELS.name,
    LABELS.snapshot,
    "training_dataset",
    "churn_model",
    "champion",
    "model_performance",
    "uplift",
    "monthly_report",
]
SCORE_KEYS = [
    "churn_scores",
    "action_list",
    "feature_drift",
    # Estimated here, and realised if the labels are there already.
    "model_performance",
    "uplift",
    "monthly_report",
]

month_close = dg.define_asset_job(
    "month_close",
    selection=dg.AssetSelection.assets(*CLOSE_KEYS),
    description="Raw tables, snapshots, feature views and the online store of one month.",
)
train_month = dg.define_asset_job(
    "train_month",
    selection=dg.AssetSelection.assets(*TRAIN_KEYS),
    description="Labels, training set, models, champion and realised performance of one month; its labels "
    "must be there.",
)
score_month = dg.define_asset_job(
    "score_month",
    selection=dg.AssetSelection.assets(*SCORE_KEYS),
    description="Scores, action list, drift, estimated performance and report of one closed month, by the "
    "release then in force.",
)
backtest_month = dg.define_asset_job(
    "backtest_month",
    selection=dg.AssetSelection.assets("backtest"),
    description="Models of the months before, judged on one month; its training set must be there.",
)
