import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from churn.contract.in_force import BASELINE, PROFILE_TABLES
from churn.months import Month
from churn.population.process import DEFAULT_BASE_RATE, ChurnProcess
from churn.population.scenario import Conditions
from churn.population.simulate import PlayedMonth, play


def features(month: PlayedMonth) -> pd.DataFrame:
    tables = [month.tables[table.name].set_index("user_id") for table in PROFILE_TABLES]
    frame = pd.concat(tables, axis=1)[BASELINE.feature_names]
    return frame.astype(dict.fromkeys(BASELINE.numeric_cols, "float64"))


def labels(month: PlayedMonth) -> np.ndarray:
    return month.tables["labels"]["churn_label"].to_numpy(bool)


def logistic() -> Pipeline:
    numbers = make_pipeline(SimpleImputer(strategy="constant", fill_value=0), StandardScaler())
    columns = make_column_transformer(
        (OneHotEncoder(), BASELINE.categorical_cols), (numbers, BASELINE.numeric_cols)
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def test_the_fit_meets_the_rate_and_the_labels(base: pd.DataFrame) -> None:
    chance = ChurnProcess.fit(base).probabilities(base, Conditions())
    assert chance.mean() == pytest.approx(DEFAULT_BASE_RATE, abs=1e-4)
    assert 0.84 < roc_auc_score(base["churn_label"], chance) < 0.86


@pytest.mark.parametrize("rate", [0.02, 0.087, 0.6])
def test_another_base_rate_is_met(base: pd.DataFrame, rate: float) -> None:
    chance = ChurnProcess.fit(base, rate).probabilities(base, Conditions())
    assert chance.mean() == pytest.approx(rate, abs=1e-4)


def test_the_oracle_is_calibrated_and_orders_the_drawn_labels(played: list[PlayedMonth]) -> None:
    for month in played[1:]:
        chance, left = month.oracle["churn_probability"], month.oracle["churn_label"]
        spread = np.sqrt((chance * (1 - chance)).sum())
        assert abs(left.sum() - chance.sum()) < 4 * spread
        assert abs(left.mean() - DEFAULT_BASE_RATE) < 0.05
        assert 0.8 < roc_auc_score(left, chance) < 0.92
        assert left.to_list() == labels(month).tolist()
        for _, part in month.oracle.groupby(pd.qcut(chance, 4), observed=True):
            expected = part["churn_probability"]
            spread = np.sqrt((expected * (1 - expected)).sum())
            assert abs(part["churn_label"].sum() - expected.sum()) < 4 * spread


def test_a_model_transfers_from_month_to_month(played: list[PlayedMonth]) -> None:
    train = np.arange(7043) % 4 > 0
    model = logistic().fit(features(played[0])[train], labels(played[0])[train])
    own = model.predict_proba(features(played[0])[~train])[:, 1]
    assert 0.78 < roc_auc_score(labels(played[0])[~train], own) < 0.88
    for month in played[1:]:
        auc = roc_auc_score(labels(month), model.predict_proba(features(month))[:, 1])
        assert 0.8 < auc < 0.89


def test_a_label_on_a_copied_profile_is_drawn_anew() -> None:
    (month,) = play(first=Month.parse("2024-01"), months=1, users=20_000)
    extra = month.oracle[7043:]
    assert extra["churn_label"].mean() == pytest.approx(extra["churn_probability"].mean(), abs=0.02)
    auc = roc_auc_score(extra["churn_label"], extra["churn_probability"])
    assert 0.83 < auc < 0.87
