"""What if: each value that is set by hand is held against the contract's rules for a file."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import BadValueError
from api.instead import with_values
from churn.contract.in_force import DEFAULT_SERVICE
from tests.kit.api_fakes import values_of

OWN = values_of(DEFAULT_SERVICE)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("contract_type", "Weekly", "one of Month-to-month, One year, Two year"),
        ("contract_type", 5, "a text"),
        ("contract_type", "", "a text"),
        ("paperless_billing", 1, "true or false"),
        ("paperless_billing", "yes", "true or false"),
        ("months_active", 1.5, "a whole number"),
        ("months_active", True, "a number"),
        ("months_active", -1, "from 0"),
        ("skips_7d", 2**63, "from 0"),
        ("monthly_fee", "29.85", "a number"),
        ("monthly_fee", math.nan, "a finite number"),
        ("monthly_fee", math.inf, "a finite number"),
        ("monthly_fee", 100_000.5, "to 100,000"),
        ("user_id", "x", "takes no such feature"),
    ],
)
def test_each_rule_of_the_contract_holds(name: str, value: Any, said: str) -> None:
    with pytest.raises(BadValueError) as refused:
        with_values(OWN, {name: value}, DEFAULT_SERVICE)
    assert said in refused.value.detail["faults"][name]


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert with_values(OWN, {"months_active": 12.0}, DEFAULT_SERVICE) == {
        **OWN,
        "months_active": 12,
    }


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from([*DEFAULT_SERVICE.feature_names, "nobody"]),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("Two year")
        ),
        max_size=4,
    )
)
def test_any_values_are_taken_over_or_refused_by_name(instead: dict[str, Any]) -> None:
    try:
        taken = with_values(OWN, instead, DEFAULT_SERVICE)
    except BadValueError as error:
        refused = set(error.detail["faults"])
    else:
        refused = set()
    assert refused <= set(instead)
    if refused:
        return
    assert taken == {**OWN, **instead}
    for feature in DEFAULT_SERVICE.features:
        value = taken[feature.name]
        assert value is None or feature.type.python is float or type(value) is feature.type.python
