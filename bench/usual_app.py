"""The usual way to serve a model: Feast's client, a pandas row, MLflow's pyfunc around scikit-learn, FastAPI.

USUAL_VERSION names the registered version. The handlers are plain functions, which FastAPI runs in threads.
"""

import os
from typing import Any

import mlflow.pyfunc
from fastapi import FastAPI
from pydantic import BaseModel

from churn.contract.in_force import DEFAULT_SERVICE, REGISTERED_MODEL
from feature_repo.store import open_store

store = open_store()
service = store.get_feature_service(DEFAULT_SERVICE.name)
model = mlflow.pyfunc.load_model(f"models:/{REGISTERED_MODEL}/{os.environ['USUAL_VERSION']}")
app = FastAPI()


class UsualRequest(BaseModel):
    """One user."""

    user_id: str


class Answer(BaseModel):
    """The model's prediction for the user."""

    user_id: str
    probability: float
    prediction: int
    features_used: dict[str, Any]


@app.post("/predict")
def predict(asked: UsualRequest) -> Answer:
    answer = store.get_online_features(service, [{"user_id": asked.user_id}])
    frame = answer.to_df()[DEFAULT_SERVICE.feature_names]
    features = frame.iloc[0].to_dict()
    frame[DEFAULT_SERVICE.categorical_cols] = frame[DEFAULT_SERVICE.categorical_cols].fillna("")
    frame[DEFAULT_SERVICE.numeric_cols] = frame[DEFAULT_SERVICE.numeric_cols].astype("float32")
    probability = float(model.predict(frame)[0, 1])
    return Answer(
        user_id=asked.user_id,
        probability=probability,
        prediction=int(probability >= 0.5),
        features_used=features,
    )
