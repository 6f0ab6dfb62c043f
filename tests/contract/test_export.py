"""The contract in other forms."""

import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from churn.contract.export import columns_table, odcs
from churn.settings import default_contract

STREAMFLOW = default_contract()


def test_the_open_data_contract_is_valid_and_whole() -> None:
    document = OpenDataContractStandard.from_string(odcs(STREAMFLOW))
    assert document.schema_ is not None
    assert [each.name for each in document.schema_] == [table.name for table in STREAMFLOW.tables]
    columns = {p.name: p for each in document.schema_ for p in each.properties or []}
    assert len(columns) == 1 + sum(len(table.values) for table in STREAMFLOW.tables)
    assert columns["user_id"].primaryKey
    assert columns["months_active"].logicalTypeOptions == {"minimum": 0, "maximum": 1200}
    content = yaml.safe_load(odcs(STREAMFLOW))
    services = next(p for p in content["customProperties"] if p["property"] == "featureServices")
    assert services["value"] == [each.versioned_name for each in STREAMFLOW.services]


def test_the_table_shows_every_column() -> None:
    rows = columns_table(STREAMFLOW).splitlines()
    assert len(rows) == 2 + sum(len(table.columns) for table in STREAMFLOW.tables)
    [fee] = [row for row in rows if "| monthly_fee |" in row]
    assert "0 to 100,000" in fee
    assert "Float32" in fee
