"""GET /health, /health/live and /health/ready."""

from fastapi import APIRouter, Request, Response

from api.champion import Champion
from api.dependencies import Parts, parts_of
from api.door import sees_details
from api.features import ReleaseInForce
from api.schemas import Health, ModelHealth, StoreHealth

router = APIRouter(prefix="/health", tags=["health"])


async def _health(request: Request) -> Health:
    parts = parts_of(request)
    store = await parts.store.state()
    if not sees_details(request):
        is_loaded = parts.champions.loaded is not None
        return Health(
            ready=store.ready and is_loaded,
            store=StoreHealth(ready=store.ready),
            model=ModelHealth(ready=is_loaded),
        )
    model = _model_health(parts)
    model.ledger_problem = _difference(await parts.store.in_force(), parts.champions.loaded)
    return Health(
        ready=store.ready and model.ready,
        store=StoreHealth(ready=store.ready, problem=store.problem, newest_as_of=store.newest),
        model=model,
        months_behind=list(store.months_behind),
    )


def _model_health(parts: Parts) -> ModelHealth:
    champion, problem = parts.champions.loaded, parts.champions.problem
    if champion is None:
        return ModelHealth(ready=False, problem=problem)
    return ModelHealth(
        ready=True,
        problem=problem,
        version=champion.version.version,
        feature_service=champion.service.versioned_name,
        as_of=champion.version.as_of,
    )


def _difference(in_force: ReleaseInForce | None, served: Champion | None) -> str | None:
    """Return how what is served differs from the ledger; for seconds after a promotion, it may."""
    if in_force is None or (served and served.version.onnx_sha256 == in_force.onnx_sha256):
        return None
    what = f"version {served.version.version}" if served else "no version"
    return (
        f"{what} is served, but the ledger says that release {in_force.release_id[:12]}"
        f" (version {in_force.version}) is in force"
    )


@router.get("")
async def health(request: Request) -> Health:
    """Tell whether features and predictions can be served now, and if not, why; always 200 while it lives.

    Where keys are asked for, whoever sends none is told whether, and not why.
    """
    return await _health(request)


@router.get("/live")
async def live() -> dict[str, bool]:
    """Answer while the process lives."""
    return {"live": True}


@router.get("/ready", responses={503: {"model": Health, "description": "not ready"}})
async def ready(request: Request, response: Response) -> Health:
    """Answer 200 when both the feature store and the model can serve, 503 otherwise."""
    answer = await _health(request)
    response.status_code = 200 if answer.ready else 503
    return answer
