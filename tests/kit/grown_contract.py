"""StreamFlow's contract, grown: a feature column, an optional table with a view of its own, a wider type."""

from churn.contract.document import read_contract
from churn.settings import default_contract

STREAMFLOW = default_contract()
_SINCE = STREAMFLOW.newest(STREAMFLOW.default_service).version + 1
_COLUMN = f"      stalled_share_30d: {{type: float, optional: true, since: {_SINCE}, max: 1}}\n"
_TABLE = f"""
  devices:
    optional: true
    columns:
      smart_tvs: {{type: int, since: {_SINCE}}}
"""
_REPLACED = [
    ("      rebuffer_events_7d: {", f"{_COLUMN}      rebuffer_events_7d: {{"),
    ("skips_7d: {type: int", "skips_7d: {exact: true, type: float"),
    ("\n# A view holds", f"{_TABLE}\n# A view holds"),
    ("  users_profile_fv:", "  devices_fv: {table: devices}\n  users_profile_fv:"),
]


def _grown_text() -> str:
    text = STREAMFLOW.text
    for old, new in _REPLACED:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


GROWN_TEXT = _grown_text()
GROWN = read_contract(GROWN_TEXT, "grown")
