"""From user ids to predictions: one read of features, one run of the model, one outcome per user."""

from collections.abc import Sequence
from functools import partial

from starlette.concurrency import run_in_threadpool

from api.champion import Champion
from api.coalescing import MOST_KEYS, Coalescer
from api.errors import ApiError, MissingFeaturesError, NotCurrentError, UnknownUserError
from api.features import FeatureRows, Reader, StorePart, UserRow
from api.schemas import Prediction
from churn.contract.in_force import VIEW_BY_NAME


class Predictor:
    """Predicts user by user; requests at the same time share one read and one run."""

    def __init__(self, store: StorePart) -> None:
        self._store = store
        self._champion: Champion | None = None
        self._together: Coalescer[str, Prediction | ApiError]

    async def predict(self, user_id: str, champion: Champion) -> Prediction:
        """Return the prediction of one user by this champion.

        Raises:
            ApiError: why there is none.
        """
        # Requests for different versions do not share a run.
        if champion is not self._champion:
            self._champion = champion
            self._together = Coalescer(partial(self._predict, champion))
        outcome = await self._together.get(user_id)
        if isinstance(outcome, ApiError):
            raise outcome
        return outcome

    async def _predict(
        self, champion: Champion, user_ids: Sequence[str]
    ) -> list[Prediction | ApiError]:
        return await predict(user_ids, self._store.reader, champion)


async def predict(
    user_ids: Sequence[str], reader: Reader, champion: Champion
) -> list[Prediction | ApiError]:
    """Return for each user, in order, the prediction or the reason why there is none."""
    reading = await reader.read(user_ids, champion.service)
    refusals = [_refusal(user, reading) for user in reading.users]
    rows = [user.values for user, no in zip(reading.users, refusals, strict=True) if no is None]
    if not rows:
        probabilities: list[float] = []
    elif len(rows) > MOST_KEYS:
        # A large batch must not hold up the others.
        probabilities = await run_in_threadpool(champion.probabilities, rows)
    else:
        probabilities = champion.probabilities(rows)
    remaining = iter(probabilities)
    return [
        no or _prediction(user, next(remaining), champion)
        for user, no in zip(reading.users, refusals, strict=True)
    ]


def _refusal(user: UserRow, reading: FeatureRows) -> ApiError | None:
    if user.as_of is None:
        return UnknownUserError(user.user_id)
    if not reading.is_current(user):
        return NotCurrentError(user.user_id, user.as_of, reading.newest)
    # A view of an optional table may lack a user, here as in training and scoring.
    missing = [name for name in user.missing_views if not VIEW_BY_NAME[name].table.optional]
    if missing:
        return MissingFeaturesError(user.user_id, missing, user.as_of)
    return None


def _prediction(user: UserRow, probability: float, champion: Champion) -> Prediction:
    assert user.as_of is not None  # noqa: S101  (refused otherwise)
    return Prediction(
        user_id=user.user_id,
        prediction=int(probability >= champion.threshold),
        probability=probability,
        threshold=champion.threshold,
        model_version=champion.version.version,
        feature_service=champion.service.versioned_name,
        as_of=user.as_of,
        features_used=user.values,
    )
