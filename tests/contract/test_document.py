"""The contract's file: what it becomes, and how its mistakes are told."""

import json
from dataclasses import replace

import pytest

from churn.contract.document import read_contract
from churn.contract.in_force import CONTRACT
from churn.contract.schema import json_schema
from churn.contract.structure import Contract, Dialect
from churn.errors import ChurnError
from churn.settings import default_contract

SMALL = """\
name: gym
first_month: 2023-05
drop_folder: "{month}"
key: {source: Member No}
dialect: {delimiter: ";", decimal: ","}
population: members
tables:
  members:
    files: "members_{month}.csv"
    columns:
      months_there: {type: int, trend: counts_months}
      city: {type: string, feature: false}
  visits:
    select: SELECT "Member No" AS user_id, count(*) AS visits FROM events GROUP BY ALL
    columns:
      visits: {type: int, description: visits of the month}
files:
  events: {files: "events*.csv"}
"""


def contract(*changes: tuple[str, str]) -> Contract:
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_contract(text, "gym.yaml")


def test_what_is_not_said_follows() -> None:
    gym = contract()
    assert [table.name for table in gym.tables] == ["members", "visits", "labels"]
    assert [view.name for view in gym.views] == ["members_fv", "visits_fv"]
    [service] = gym.services
    assert service.versioned_name == "gym_all_v1"
    assert service.feature_names == ["months_there", "visits"]
    assert gym.newest(gym.default_service) is service
    members, visits, _ = gym.tables
    assert members.columns[0].source_name == "Member No"
    assert (members.dialect.delimiter, members.dialect.decimal) == (";", ",")
    # What a select gives is canonical already.
    assert visits.dialect == members.dialect  # in which the texts of its select are read
    assert visits.columns[0].source_name == "user_id"
    assert not members.is_canonical
    assert not visits.is_canonical


def test_every_table_of_streamflow_is_read_as_it_stands() -> None:
    assert all(table.is_canonical for table in default_contract().tables)


MISTAKES = [
    # old text, new text, what the message says
    ("type: int, trend", "type: integer, trend", "line 11, tables.members.columns.months_there.type"),
    ("name: gym", "nam: gym", "line 1, nam: no such key"),
    ("population: members", "population: member", "line 6, population: there is no table 'member'"),
    ("      city:", "      City:", "line 12, tables.members.columns.City: 'City' is no name"),
    ("      city:", "      as_of:", "as_of is a name of the system's own"),
    ("  visits:\n    select", "  members:\n    select", "line 13: it is no YAML: members stands twice"),
    ("first_month: 2023-05", "first_month: May", "line 2, first_month"),
    ("      visits: {", "      city: {", "line 16, tables.visits.columns.city: members has a column"),
    ("files:\n  events", "tenure: moths\nfiles:\n  events", "tenure: there is no column 'moths'"),
    ("{type: int, description", "{type: int, max: -1, description", "max -1 lies below min 0"),
    ("name: gym\n", "name: gym\nlabel: {from: status}\n", "from: status needs table and column"),
    ("name: gym\n", "name: [\n", "it is no YAML"),
    ("name: gym\n", "? [a]\n: b\nname: gym\n", "it is no YAML"),
    ('delimiter: ";"', 'encoding: klingon', "encoding 'klingon' is not known"),
    ('delimiter: ";"', 'delimiter: "§"', "cannot part values"),
    ('delimiter: ";"', 'thousands: ","', "both decimals and thousands"),
    ('delimiter: ";"', 'true: [ja], false: [ja]', "cannot mean both true and false"),
    ('delimiter: ";"', 'dates: ["%d.%m"]', "does not say day, month and year"),
    ('delimiter: ";"', 'dates: ["%d.%m.%d"]', "is no format of a date"),
    ('"{month}"\nkey', 'exports\nkey', "drop_folder"),
    ("first_month: 2023-05", "first_month: 2023-13", "line 2, first_month"),
    ("name: gym\n", "name: gym\nlabel: {from: end_date, table: members, column: city}\n", "type date"),
    ("  visits:\n    select", "  deliveries:\n    select", "deliveries is a table of the system's own"),
    ("      city:", "      score:", "score is a name of the system's own"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES)
def test_a_mistake_is_told_with_line_key_and_remedy(old: str, new: str, told: str) -> None:
    with pytest.raises(ChurnError) as error:
        contract((old, new))
    assert told in str(error.value)
    assert "gym.yaml" in error.value.where
    assert "churn contract schema" in error.value.remedy


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ChurnError) as error:
        contract(("name: gym", "nam: gym"), ("type: string", "type: text"))
    assert "line 1, nam" in error.value.what
    assert "line 12, tables.members.columns.city.type" in error.value.what


def test_versions_of_a_service_are_the_features_up_to_then() -> None:
    grown = contract(
        ("visits of the month}", "visits of the month}\n      peaks: {type: int, since: 2}")
    )
    first, second = grown.services
    assert (first.versioned_name, second.versioned_name) == ("gym_all_v1", "gym_all_v2")
    assert first.feature_names == contract().services[0].feature_names
    assert second.feature_names == ["months_there", "visits", "peaks"]


def test_a_pinned_service_does_not_grow() -> None:
    text = SMALL.replace(
        "visits of the month}", "visits of the month}\n      peaks: {type: int, since: 2}"
    )
    text += "services:\n  base: {version: 1}\n  rich: {}\nbaseline_service: base\n"
    grown = read_contract(text, "gym.yaml")
    assert [each.versioned_name for each in grown.services] == ["base_v1", "rich_v1", "rich_v2"]
    assert "peaks" not in grown.newest(grown.baseline_service).feature_names


def test_the_fingerprint_is_of_what_is_said() -> None:
    assert contract(("name: gym", "# a comment\nname: gym")).fingerprint == contract().fingerprint
    assert (
        contract(("type: int, trend", "type: float, trend")).fingerprint != contract().fingerprint
    )


def test_bands_have_names() -> None:
    gym = read_contract(
        SMALL + "segments:\n  there: {column: months_there, bands: [6, 12]}\n", "gym.yaml"
    )
    assert gym.segments[0].band_names == ("0-6", "7-12", "13+")


def test_the_schema_for_editors_knows_every_key() -> None:
    schema = json_schema()
    assert {"tables", "label", "services"} <= set(schema["properties"])
    assert "from" in schema["$defs"]["LabelEntry"]["properties"]
    json.dumps(schema)


def test_messages_call_a_file_as_the_contract_does() -> None:
    table = CONTRACT.table_by_name["users"]
    assert table.shown_file == "users.csv"
    assert replace(table, files="kunden_{month}.csv").shown_file == "kunden_YYYY-MM.csv"
    assert replace(table, dialect=Dialect(format="parquet")).shown_file == "users.parquet"
    assert replace(table, select="SELECT 1").shown_file == "users (select)"
    assert replace(CONTRACT.labels, files="gone_{n}.csv").shown_file == "gone_NNN.csv"
