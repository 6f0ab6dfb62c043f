"""The API asked whatever its OpenAPI document allows, and more: answers are as documented, by key alone."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.generation import GenerationMode

from api.keys import KeyRing
from api.main import create_app
from churn.api_keys import Scope, add_key
from churn.contract.user_ids import fault_of
from churn.database import connect
from churn.settings import Settings
from tests.api.test_door import parts
from tests.kit.api_fakes import MemoryReader, MemoryRegistry
from tests.kit.servers import served
from tests.kit.waiting import until

pytestmark = pytest.mark.services  # it takes long
OPERATIONS = {
    "GET /features/{user_id}",
    "POST /predict",
    "POST /predict/batch",
    "POST /explain",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
}
# Nothing can be wrong about a request without parameters.
ALWAYS_RIGHT = {operation for operation in OPERATIONS if "/health" in operation} | {"GET /metrics"}
CHOSEN = hypothesis.settings(
    max_examples=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture
def schema(
    settings: Settings, reader: MemoryReader, registry: MemoryRegistry
) -> Iterator[tuple[Any, dict[str, str]]]:
    """The document of a served application that asks for keys, and the headers of somebody who has one."""
    registry.promote(0.75)
    with connect() as connection:
        key = add_key(connection, "fuzz", [Scope.ADMIN])
    keys = KeyRing()
    keys.poll()
    with served(create_app(lambda: parts(reader, registry, keys))) as url:
        until(lambda: httpx.get(f"{url}/health/ready", timeout=60).status_code == 200)
        document = schemathesis.openapi.from_url(f"{url}/openapi.json")
        # Each request is sent by the key; a check of Schemathesis' own sends it again without one.
        document.config.generation.with_security_parameters = False
        yield document, {"Authorization": f"Bearer {key}"}


def names_no_user(case: Any) -> bool:
    """Return whether an id breaks a rule that a JSON schema cannot state, such as that of Unicode's forms."""
    body = case.body if isinstance(case.body, dict) else {}
    in_path = (case.path_parameters or {}).get("user_id", "")  # as it is sent, percent-encoded
    named = [unquote(str(in_path)), body.get("user_id")]
    many = body.get("user_ids")
    named += many if isinstance(many, list) else []
    return any(isinstance(each, str) and each and fault_of(each) for each in named)


def test_the_document_has_these_operations(schema: tuple[Any, dict[str, str]]) -> None:
    assert {each.ok().label for each in schema[0].get_all_operations()} == OPERATIONS


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        (operation, mode)
        for operation in sorted(OPERATIONS)
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or operation not in ALWAYS_RIGHT
    ],
)
def test_every_answer_is_as_documented(
    schema: tuple[Any, dict[str, str]], operation: str, mode: GenerationMode
) -> None:
    document, headers = schema
    [asked] = [each.ok() for each in document.get_all_operations() if each.ok().label == operation]

    @CHOSEN
    @hypothesis.given(case=asked.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        hypothesis.assume(mode is GenerationMode.NEGATIVE or not names_no_user(case))
        case.call_and_validate(headers=headers)

    ask()
