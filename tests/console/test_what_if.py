"""What is written into the form: any text is a value of the contract's type, or named as a problem."""

import datetime as dt
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from churn.contract.in_force import DEFAULT_SERVICE
from churn.scoring.wording import name_of
from console.explained import CustomerExplained, FeatureNow
from console.what_if import PREFIX, read_form

OWN: dict[str, Any] = {"Bool": True, "Int64": 3, "Float32": 29.85, "Float64": 1.5, "String": "A"}


def customer(values: dict[str, Any]) -> CustomerExplained:
    features = [
        FeatureNow(feature, name_of(feature), "", "", 0.0, 0.0, "", value)
        for feature, value in values.items()
    ]
    return CustomerExplained(0.5, 0.5, dt.date(2024, 6, 30), "1", features)


def own_values() -> dict[str, Any]:
    return {feature.name: OWN[feature.dtype] for feature in DEFAULT_SERVICE.features}


def test_the_form_as_it_comes_changes_nothing() -> None:
    for values in (own_values(), dict.fromkeys(own_values())):
        form = read_form(customer(values), {})
        assert (form.instead, form.problems) == ({}, [])
        again = read_form(customer(values), {each.name: each.text for each in form.fields})
        assert (again.instead, again.problems) == ({}, [])
        assert len(form.fields) == len(values)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(DEFAULT_SERVICE.feature_names),
        st.one_of(
            st.sampled_from(
                ["", "yes", "no", "Two year", "1e400", "nan", "0x1", "\x00", "1" * 400]
            ),
            st.integers().map(str),
            st.floats().map(str),
            st.text(max_size=5),
        ),
        max_size=4,
    )
)
def test_any_text_is_a_value_of_its_type_or_a_problem(texts: dict[str, str]) -> None:
    sent = {f"{PREFIX}{name}": text for name, text in texts.items()}
    form = read_form(customer(own_values()), sent)
    types = {feature.name: feature.type.python for feature in DEFAULT_SERVICE.features}
    assert form.instead.keys() <= texts.keys()
    for name, value in form.instead.items():
        assert value is None or type(value) is types[name]
        assert value != own_values()[name]
    wrong = {each.feature for each in form.fields if each.problem}
    assert not wrong & form.instead.keys()
    assert wrong <= texts.keys()


def test_a_number_that_no_column_can_hold_is_a_problem() -> None:
    sent = {f"{PREFIX}{name}": "1" * 400 for name in own_values()}
    form = read_form(customer(own_values()), sent)
    problems = {each.problem for each in form.fields if each.is_number}
    assert problems == {"write a whole number", "write a number"}
