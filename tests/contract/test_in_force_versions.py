"""Versions of a feature service: what each holds, and that a model keeps to the one that it was fitted on."""

from dataclasses import replace

import pytest
import yaml

from churn.contract.document import read_contract
from churn.contract.in_force import (
    BASELINE,
    DEFAULT_SERVICE,
    SERVICE_VERSIONS,
    plain_name,
    service_named,
    service_of,
    services_within,
)
from churn.contract.structure import Contract, Service
from churn.errors import ChurnError
from churn.model.encode import FeatureSchema
from tests.kit.streamflow import FIRST

FIRST_RICH = service_named("churn_rich")


def grown(**columns: dict[str, object]) -> Contract:
    """The contract with more columns in usage_agg_30d: what a person would add to its file."""
    document = yaml.safe_load(FIRST.text)
    document["tables"]["usage_agg_30d"]["columns"] |= columns
    return read_contract(yaml.safe_dump(document, sort_keys=False), "grown")


def versions(contract: Contract, name: str = "churn_rich") -> list[Service]:
    return [service for service in contract.services if service.name == name]


def test_a_column_makes_a_version_and_leaves_the_one_before_as_it_was() -> None:
    contract = grown(live_hours_30d={"type": "float", "since": 2})
    one, two = versions(contract)
    assert (one.versioned_name, two.versioned_name) == ("churn_rich_v1", "churn_rich_v2")
    assert one.feature_names == FIRST_RICH.feature_names
    assert FeatureSchema.of(one).write() == FeatureSchema.of(FIRST_RICH).write()
    assert set(two.feature_names) - set(one.feature_names) == {"live_hours_30d"}
    # What is read for version 1 is read without the new column, too.
    assert [name for view in one.views for name in view.feature_names] == one.feature_names
    [baseline] = versions(contract, "churn_baseline")  # which the contract holds to its version
    assert baseline.feature_names == BASELINE.feature_names


def test_version_1_is_recorded_as_before_there_were_versions() -> None:
    one, two = versions(grown(live_hours_30d={"type": "float", "since": 2}))
    assert (one.recorded_name, two.recorded_name) == ("churn_rich", "churn_rich_v2")
    assert FeatureSchema.of(two).service == "churn_rich_v2"
    assert service_named("churn_rich") is service_named("churn_rich_v1") is FIRST_RICH
    assert plain_name("churn_rich_v2") == plain_name("churn_rich") == "churn_rich"
    unknown = f"churn_rich_v{DEFAULT_SERVICE.version + 1}"
    with pytest.raises(ChurnError, match=f"there is no feature service {unknown}"):
        service_named(unknown)


def test_a_month_is_fitted_on_the_newest_version_that_its_rows_have() -> None:
    every = grown(
        live_hours_30d={"type": "float", "since": 2}, replays_30d={"type": "int", "since": 3}
    ).services
    columns = {*FIRST_RICH.feature_names, "user_id"}

    def chosen(*more: str) -> list[str]:
        return [each.versioned_name for each in services_within(columns | {*more}, every)]

    assert chosen() == ["churn_baseline_v1", "churn_rich_v1"]
    assert chosen("live_hours_30d") == ["churn_baseline_v1", "churn_rich_v2"]
    assert chosen("live_hours_30d", "replays_30d") == ["churn_baseline_v1", "churn_rich_v3"]
    assert chosen("replays_30d") == ["churn_baseline_v1", "churn_rich_v1"]
    assert [s.name for s in services_within([], every)] == ["churn_baseline", "churn_rich"]


def test_a_version_that_brings_a_service_nothing_is_no_version_of_it() -> None:
    one = FIRST_RICH
    [chosen] = services_within(one.feature_names, [one, replace(one, version=2)])
    assert chosen.version == 1


def test_a_model_takes_the_features_of_its_own_schema() -> None:
    schema = FeatureSchema.of(FIRST_RICH)
    assert schema.as_service() is FIRST_RICH
    older = replace(schema, numeric_cols=[n for n in schema.numeric_cols if n != "skips_7d"])
    service = older.as_service()
    assert service.versioned_name == "churn_rich_v1"
    assert service.feature_names == [n for n in FIRST_RICH.feature_names if n != "skips_7d"]
    assert [view.name for view in service.views] == [view.name for view in FIRST_RICH.views]
    only = service_of("churn_rich_v7", ["monthly_fee"])
    assert (only.versioned_name, [view.name for view in only.views]) == (
        "churn_rich_v7",
        ["subs_profile_fv"],
    )


def test_a_feature_that_the_contract_no_longer_has_is_named() -> None:
    schema = FeatureSchema.of(FIRST_RICH)
    lost = replace(schema, numeric_cols=[*schema.numeric_cols, "live_hours_30d"])
    with pytest.raises(ChurnError, match="there is no feature live_hours_30d any more"):
        lost.as_service()
    turned = replace(schema, categorical_cols=["monthly_fee", *schema.categorical_cols])
    with pytest.raises(ChurnError, match="monthly_fee changed between text and number"):
        turned.as_service()


def test_every_version_of_the_contract_in_force_has_a_name_of_its_own() -> None:
    names = [service.versioned_name for service in SERVICE_VERSIONS]
    assert len(set(names)) == len(names)
