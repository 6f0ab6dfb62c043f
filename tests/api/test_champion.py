import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from api.champion import ChampionWatcher
from api.errors import NotReadyError
from churn.contract.in_force import BASELINE, DEFAULT_SERVICE, USERS, service_of
from churn.contract.structure import Feature, View
from tests.kit.api_fakes import USER, MemoryRegistry
from tests.kit.waiting import until

RECORDED = DEFAULT_SERVICE.recorded_name


@pytest.fixture
def watcher(registry: MemoryRegistry) -> ChampionWatcher:
    return ChampionWatcher(registry)


def test_a_promoted_version_is_picked_up(
    watcher: ChampionWatcher, registry: MemoryRegistry
) -> None:
    watcher.poll()
    with pytest.raises(NotReadyError, match="no version of streamflow_churn has the alias"):
        _ = watcher.champion
    for number, service in enumerate([DEFAULT_SERVICE, BASELINE, DEFAULT_SERVICE], 1):
        registry.promote(number / 10, service)
        watcher.poll()
        assert watcher.champion.version.version == str(number)
        assert watcher.champion.service is service
        row = dict.fromkeys(service.feature_names)
        assert watcher.champion.probabilities([row, row]) == [number / 10] * 2
        assert watcher.problem is None


def test_an_unchanged_champion_is_not_fetched_again(
    watcher: ChampionWatcher, registry: MemoryRegistry
) -> None:
    registry.promote(0.5)
    for _ in range(3):
        watcher.poll()
    assert registry.downloads == 2


def test_a_changed_thresholdis_a_new_champion(
    watcher: ChampionWatcher, registry: MemoryRegistry
) -> None:
    version = registry.promote(0.5)
    watcher.poll()
    registry.alias = replace(version, threshold="0.4")
    watcher.poll()
    assert watcher.champion.threshold == 0.4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"onnx_sha256": "0" * 64}, "sha256"),
        ({"onnx_sha256": ""}, "registered is none"),
        (
            {"service": "other"},
            f"is that of {DEFAULT_SERVICE.recorded_name}, and it is registered as one of other",
        ),
        (
            {"service": ""},
            f"is that of {DEFAULT_SERVICE.recorded_name}, and it is registered as one of no service",
        ),
        ({"threshold": ""}, "its threshold is nan"),
        ({"threshold": "half"}, "half"),
        ({"onnx_path": "model.pkl"}, "model.pkl"),
    ],
)
def test_a_false_record_is_refused_and_the_old_model_serves_on(
    watcher: ChampionWatcher, registry: MemoryRegistry, changes: dict[str, str], reason: str
) -> None:
    good = registry.promote(0.5)
    watcher.poll()
    registry.promote(0.9, **changes)
    watcher.poll()
    assert watcher.champion.version == good
    assert "version 2 is refused" in (watcher.problem or "")
    assert reason in (watcher.problem or "")
    downloads = registry.downloads
    watcher.poll()
    assert registry.downloads == downloads  # a refused version is not fetched again and again
    registry.promote(0.7)
    watcher.poll()
    assert (watcher.champion.version.version, watcher.problem) == ("3", None)


def test_a_changed_file_is_refused(watcher: ChampionWatcher, registry: MemoryRegistry) -> None:
    version = registry.promote(0.5)
    registry.files[version.run_id, version.onnx_path] += b"\x00"
    watcher.poll()
    with pytest.raises(NotReadyError, match="version 1 is refused: sha256"):
        _ = watcher.champion


@pytest.mark.parametrize(
    ("registered", "reason"),
    [({}, "sha256 of feature_schema.json is"), ({"schema_sha256": ""}, "is not that of")],
)
def test_columns_in_another_order_are_refused(
    watcher: ChampionWatcher, registry: MemoryRegistry, registered: dict[str, str], reason: str
) -> None:
    """The inputs are as many and of the same types, so that the model itself would not notice."""
    version = registry.promote(0.5, **registered)
    first, second = DEFAULT_SERVICE.numeric_cols[:2]
    schema = registry.files[version.run_id, "feature_schema.json"].decode()
    swapped = schema.replace(f'"{first}"', '"?"').replace(f'"{second}"', f'"{first}"')
    registry.files[version.run_id, "feature_schema.json"] = swapped.replace(
        '"?"', f'"{second}"'
    ).encode()
    watcher.poll()
    with pytest.raises(NotReadyError, match=f"version 1 is refused: .*{reason}"):
        _ = watcher.champion


def test_a_version_of_before_schemas_had_a_sha256_is_served(
    watcher: ChampionWatcher, registry: MemoryRegistry
) -> None:
    version = registry.promote(0.5, schema_sha256="")
    watcher.poll()
    assert watcher.champion.version == version


def test_a_file_that_is_no_model_is_refused(
    watcher: ChampionWatcher, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.kit.api_fakes.constant_model", lambda *_: b"no model")
    registry.promote(0.5)
    watcher.poll()
    with pytest.raises(NotReadyError, match="version 1 is refused"):
        _ = watcher.champion


def test_a_model_with_other_inputs_is_refused(
    watcher: ChampionWatcher, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.kit.api_fakes import constant_model

    monkeypatch.setattr(
        "tests.kit.api_fakes.constant_model", lambda p, _: constant_model(p, BASELINE)
    )
    registry.promote(0.5, DEFAULT_SERVICE)
    watcher.poll()
    with pytest.raises(NotReadyError, match="version 1 is refused"):
        _ = watcher.champion


def test_a_registry_that_is_down_or_empty_keeps_the_model(
    client: TestClient, registry: MemoryRegistry
) -> None:
    registry.down = True
    until(lambda: client.get("/health").json()["model"]["problem"] is not None)
    model = client.get("/health").json()["model"]
    assert (model["ready"], model["version"]) == (True, "1")
    assert model["problem"] == "MLflow does not answer (ConnectError)"
    assert client.post("/predict", json={"user_id": USER}).status_code == 200
    assert client.get("/health/ready").status_code == 200
    registry.down, registry.alias = False, None
    until(lambda: "alias" in client.get("/health").json()["model"]["problem"])
    assert client.post("/predict", json={"user_id": USER}).status_code == 200


def test_no_request_fails_or_mixes_versions_while_champions_change(
    client: TestClient, registry: MemoryRegistry
) -> None:
    stop = threading.Event()

    def ask() -> list[tuple[int, str, float, int]]:
        seen = []
        while not stop.is_set():
            answer = client.post("/predict", json={"user_id": USER})
            body = answer.json()
            seen.append(
                (
                    answer.status_code,
                    body["model_version"],
                    body["probability"],
                    len(body["features_used"]),
                )
            )
        return seen

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for number in range(2, 12):
            service = BASELINE if number % 2 else DEFAULT_SERVICE
            registry.promote(number / 100, service)
            until(lambda n=number: client.get("/health").json()["model"]["version"] == str(n))
        stop.set()
        seen = {one for future in asking for one in future.result()}
    expected = {(200, "1", 0.75, len(DEFAULT_SERVICE.features))} | {
        (200, str(n), n / 100, len((BASELINE if n % 2 else DEFAULT_SERVICE).features))
        for n in range(2, 12)
    }
    assert seen <= expected
    assert len(seen) > 5


def test_a_model_of_fewer_features_than_the_service_has_now_is_served_by_its_own(
    client: TestClient, registry: MemoryRegistry
) -> None:
    names = [name for name in DEFAULT_SERVICE.feature_names if name != "skips_7d"]
    older = service_of("churn_rich", names)
    registry.promote(0.25, older)
    until(lambda: client.get("/health").json()["model"]["version"] == "2")
    answer = client.post("/predict", json={"user_id": USER})
    assert (answer.status_code, answer.json()["probability"]) == (200, 0.25)
    assert list(answer.json()["features_used"]) == names
    assert answer.json()["feature_service"] == "churn_rich_v1"
    assert client.get("/health").json()["model"]["feature_service"] == "churn_rich_v1"


def test_a_model_of_a_feature_that_the_contract_has_no_more_is_refused_with_its_name(
    watcher: ChampionWatcher, registry: MemoryRegistry
) -> None:
    hours = View("gone_fv", USERS, (Feature("live_hours_30d", "Float32", ""),))
    registry.promote(0.5, replace(DEFAULT_SERVICE, views=(*DEFAULT_SERVICE.views, hours)))
    watcher.poll()
    with pytest.raises(NotReadyError, match="no feature live_hours_30d any more"):
        _ = watcher.champion
