"""From user ids to predictions: one read of features, one run of the model, a verdict for each user."""

from collections.abc import Sequence

from api.champion import Champion
from api.errors import ApiError, MissingFeaturesError, NotCurrentError, UnknownUserError
from api.features import Reader, Reading, UserRow
from api.schemas import Prediction


def predict(
    user_ids: Sequence[str], reader: Reader, champion: Champion
) -> list[Prediction | ApiError]:
    """Return for each user, in order, the prediction or the reason why there is none."""
    reading = reader.read(user_ids, champion.service)
    refusals = [_refusal(user, reading) for user in reading.users]
    rows = [user.values for user, no in zip(reading.users, refusals, strict=True) if no is None]
    probabilities = iter(champion.probabilities(rows) if rows else [])
    return [
        no or _prediction(user, next(probabilities), champion)
        for user, no in zip(reading.users, refusals, strict=True)
    ]


def _refusal(user: UserRow, reading: Reading) -> ApiError | None:
    if user.as_of is None:
        return UnknownUserError(user.user_id)
    if not reading.is_current(user):
        return NotCurrentError(user.user_id, user.as_of, reading.newest)
    if user.missing_views:
        return MissingFeaturesError(user.user_id, user.missing_views, user.as_of)
    return None


def _prediction(user: UserRow, probability: float, champion: Champion) -> Prediction:
    assert user.as_of is not None  # noqa: S101  (refused otherwise)
    return Prediction(
        user_id=user.user_id,
        prediction=int(probability >= champion.threshold),
        probability=probability,
        threshold=champion.threshold,
        model_version=champion.version.version,
        feature_service=champion.service.name,
        as_of=user.as_of,
        features_used=user.values,
    )
