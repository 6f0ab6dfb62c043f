"""Whatever id the door lets in, every route answers for it, over HTTP and decoded exactly once."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.champion import ChampionWatcher
from api.dependencies import Parts
from api.features import StorePart
from api.main import create_app
from churn.contract.in_force import DEFAULT_SERVICE
from churn.contract.user_ids import LONGEST, fault_of
from churn.model.candidates import fit_challenger, tuned
from churn.model.fitted import explainer_of, to_onnx
from churn.model.kinds import LOGISTIC
from churn.model.train import fit_baseline
from tests.kit.api_fakes import FEBRUARY, MemoryReader, MemoryRegistry
from tests.kit.fitted_models import small_world
from tests.kit.servers import served
from tests.kit.waiting import until

KKBOX = "rxIP2f2aN0rYNp+toI0Obt/N/FYQX8hcO1fTmmy2h34="
IDS = st.one_of(
    st.text("/?#%&;=+.~ 2Fa:@\\\"'<[", min_size=1, max_size=12),
    st.text(min_size=1, max_size=LONGEST),
).filter(lambda text: fault_of(text) is None)


class Everybody(dict[str, object]):
    """Users of the newest month: all there can be."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> object:
        return FEBRUARY


@pytest.fixture(scope="module")
def api() -> Iterator[httpx.Client]:
    """The API behind the server that the stack runs, with a logistic regression as champion."""
    registry = MemoryRegistry()
    baseline = fit_baseline(small_world(300), DEFAULT_SERVICE, n_estimators=10)
    challenger = fit_challenger(tuned(LOGISTIC, baseline.data), baseline)
    registry.register(to_onnx(challenger), explainer=explainer_of(challenger).write())

    async def open_reader() -> MemoryReader:
        return MemoryReader(as_of=Everybody())

    def make_parts() -> Parts:
        return Parts(StorePart(open_reader), ChampionWatcher(registry, interval=0.05))

    with (
        served(create_app(make_parts)) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


def answers(client: httpx.Client, user_id: str) -> list[httpx.Response]:
    return [
        client.get(f"/features/{quote(user_id, safe='')}"),
        client.post("/predict", json={"user_id": user_id}),
        client.post("/predict/batch", json={"user_ids": [user_id]}),
        client.post("/explain", json={"user_id": user_id}),
    ]


def named(answer: httpx.Response) -> str:
    body = answer.json()
    return str((body["results"][0] if "results" in body else body)["user_id"])


@hypothesis_settings(max_examples=40)
@given(user_id=IDS)
def test_every_accepted_id_is_answered_by_every_route(api: httpx.Client, user_id: str) -> None:
    for answer in answers(api, user_id):
        assert answer.status_code == 200, answer.text
        assert named(answer) == user_id


@pytest.mark.parametrize(
    "user_id", [KKBOX, "a/b", "a%2Fb", "#17", "a?b=c", "/", "a//", "100%", "é" * 255]
)
def test_ids_that_mean_something_in_a_url(api: httpx.Client, user_id: str) -> None:
    assert [named(answer) for answer in answers(api, user_id)] == [user_id] * 4


@pytest.mark.parametrize("user_id", ["", "x" * 256, "a\u00a0", "Jose\u0301", "Total", ".."])
def test_what_the_door_refuses_no_route_takes(api: httpx.Client, user_id: str) -> None:
    posted = answers(api, user_id)[1:]
    assert [answer.status_code for answer in posted] == [422] * 3
