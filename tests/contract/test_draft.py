"""A contract drafted from exports: what is seen in them, what is guessed, and that it is a contract."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.contract.document import read_contract
from churn.contract.draft import ContractDraft, draft_text, read_exports, understand
from churn.contract.draft.columns import Marks, marks_of, profile
from churn.contract.structure import Contract
from churn.errors import ChurnError
from churn.months import Month


def write(folder: Path, **files: str) -> Path:
    """Write files, by their names with __ for / and _csv for .csv."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_csv", ".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def drafted(folder: Path, key: str = "") -> tuple[ContractDraft, Contract]:
    draft = draft_text(understand(read_exports(folder), key))
    return draft, read_contract(draft.text, "draft")


def rows(header: str, *lines: str) -> str:
    return "\n".join([header, *lines]) + "\n"


GYM = {
    "gym__2023-05__members_csv": rows(
        "Member No;City;Monthly Fee;Joined;Active",
        "m-1;Ulm;19,90;01.02.2023;ja",
        "m-2;Bonn;29,90;14.03.2022;nein",
        "m-3;Ulm;1.019,90;28.02.2021;ja",
    ),
    "gym__2023-06__members_csv": rows(
        "Member No;City;Monthly Fee;Joined;Active",
        "m-1;Ulm;19,90;01.02.2023;ja",
        "m-3;Ulm;1.019,90;28.02.2021;ja",
        "m-4;Bonn;NA;30.05.2023;ja",
    ),
    "gym__2023-05__visits_csv": rows(
        "Visit;Member No;Day;Minutes",
        "1;m-1;03.05.2023;40",
        "2;m-1;29.05.2023;55",
        "3;m-2;01.05.2023;5",
    ),
    "gym__2023-06__visits_csv": rows("Visit;Member No;Day;Minutes", "4;m-1;01.06.2023;40"),
}


@pytest.fixture
def gym(tmp_path: Path) -> Path:
    return write(tmp_path, **GYM) / "gym"


def test_folders_per_month_with_events_and_no_labels(gym: Path) -> None:
    draft, contract = drafted(gym)
    assert contract.first_month == Month.parse("2023-05")
    assert contract.drop_folder == "{month}"
    members = contract.users
    assert members.name == "members"
    assert members.columns[0].source_name == "Member No"
    assert {c.name: c.kind for c in members.values} == {
        "city": "string", "monthly_fee": "float", "joined": "date", "active": "bool",
    }  # fmt: skip
    dialect = members.dialect
    assert (dialect.delimiter, dialect.decimal, dialect.thousands) == (";", ",", ".")
    assert (dialect.true_words, dialect.false_words) == (("ja",), ("nein",))
    assert dialect.date_formats == ("%d.%m.%Y",)
    assert dialect.null_words == ("", "NA")
    assert members.column("city").expected == ("Bonn", "Ulm")
    assert contract.label.kind == "absent"
    assert any("1 of the first month's 3 are missing" in text for text in draft.decisions)


def test_several_rows_per_customer_become_a_select(gym: Path) -> None:
    draft, contract = drafted(gym)
    visits = contract.table_by_name["visits_by_user"]
    assert visits.select is not None
    assert 'LEFT JOIN visits AS f ON f."Member No" = p."Member No"' in visits.select
    assert 'GROUP BY p."Member No"' in visits.select
    assert "strptime(f.\"Day\", ['%d.%m.%Y'])" in visits.select
    assert [column.name for column in visits.values] == [
        "visits_rows",
        "days_since_day",
        "minutes_sum",
    ]
    assert [source.name for source in contract.source_files] == ["visits"]
    assert any("visits.csv has several rows per Member No" in text for text in draft.decisions)


def test_months_in_the_names_of_files_in_one_folder(tmp_path: Path) -> None:
    text = rows("customer_id,plan", "a,x", "b,y")
    files = {
        "flat__billing-2024-01_csv": text,
        "flat__billing-2024-02_csv": text,
        "flat__notes.txt~": "",
    }
    folder = write(tmp_path, **files) / "flat"
    exports = read_exports(folder)
    assert (exports.months, exports.first_month) == (2, Month.parse("2024-01"))
    assert any("notes.txt~ was passed over" in note for note in exports.notes)
    _, contract = drafted(folder)
    assert contract.users.files == "billing-{month}.csv"
    assert contract.users.name == "billing"


def test_numbered_folders_need_a_first_month(tmp_path: Path) -> None:
    text = rows("user_id,since", "a,2022-03-05", "b,2022-04-01")
    folder = write(tmp_path, d__month_000__users_csv=text, d__month_001__users_csv=text) / "d"
    draft, contract = drafted(folder)
    assert contract.drop_folder == "month_{n}"
    assert contract.first_month == Month.parse("2022-03")  # the latest date, a month back
    assert draft.decisions[0].startswith("first_month")


def test_one_file_without_a_key_and_with_its_label(tmp_path: Path) -> None:
    text = rows("Call  Failure,Plan,Churn", "8,1,0", "0,2,1", "8,2,0", "3,1,0")
    folder = write(tmp_path, one__all_csv=text) / "one"
    draft, contract = drafted(folder)
    assert contract.label.kind == "file"
    for table in contract.tables:
        assert table.select is not None
        assert "row_number() OVER ()" in table.select
    assert '"Churn" AS churn_label' in (contract.labels.select or "")
    assert [column.name for column in contract.users.values] == ["call_failure", "plan"]
    topics = [text.split(":")[0] for text in draft.decisions]
    assert topics == ["first_month", "key", "label", "types", "features"]
    assert "plan: {type: int, example: 1}  # DECIDE" in draft.text


def test_a_file_of_labels_is_taken_as_it_stands(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        d__customers_csv=rows("customer_id,age", "a,3", "b,4"),
        d__churn_csv=rows("customer_id,churned", "a,yes", "b,no"),
    )
    _, contract = drafted(folder / "d")
    assert contract.users.name == "customers"
    assert contract.labels.files == "churn.csv"
    assert contract.labels.column("churn_label").source == "churned"
    assert len(contract.tables) == 2


@pytest.mark.parametrize(
    ("column", "kind", "gone"),
    [
        ("status,active,cancelled,active,paused", "status", ("cancelled",)),
        ("end_date,,2024-02-03,,", "end_date", ()),
    ],
)
def test_a_status_or_an_end_date_is_a_label(
    tmp_path: Path, column: str, kind: str, gone: tuple[str, ...]
) -> None:
    values = column.split(",")
    text = rows(f"id,{values[0]}", *(f"k{n},{value}" for n, value in enumerate(values[1:])))
    _, contract = drafted(write(tmp_path, d__accounts_csv=text) / "d")
    label = contract.label
    assert (label.kind, label.table, label.column, label.gone) == (
        kind,
        "accounts",
        values[0],
        gone,
    )


def test_what_is_known_only_of_who_left_is_no_feature(tmp_path: Path) -> None:
    lines = [f"k{n},{n % 7},{'price' if n % 3 == 0 else ''},{int(n % 3 == 0)}" for n in range(30)]
    text = rows("id,visits,reason,churn", *lines)
    draft, contract = drafted(write(tmp_path, d__accounts_csv=text) / "d")
    assert contract.users.column("reason").since is None
    assert contract.users.column("visits").since == 1
    assert "it says the same as 'churn'" in draft.text


def test_the_key_may_be_given(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        d__accounts_csv=rows("account_id,plan", "A1,x", "A2,y"),
        d__seats_csv=rows("seat_id,account_id,hours", "s1,A1,1", "s2,A1,2", "s3,A2,5"),
    )
    draft, contract = drafted(folder / "d")
    assert contract.users.name == "accounts"
    assert "GROUP BY p.account_id" in (contract.table_by_name["seats_by_user"].select or "")
    assert any("a customer is one account_id of accounts.csv" in text for text in draft.guesses)
    _, contract = drafted(folder / "d", "seat_id")
    assert contract.users.name == "seats"
    assert "JOIN accounts" in (contract.table_by_name["accounts_by_user"].select or "")
    with pytest.raises(ChurnError, match="no file has a column 'nobody'"):
        drafted(folder / "d", "nobody")


def test_a_column_of_two_files_has_two_names_and_is_compared(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        d__users_csv=rows("user_id,plan", "a,x", "b,y"),
        d__usage_csv=rows("user_id,plan,hours", "a,x,1", "b,x,4"),
    )
    draft, contract = drafted(folder / "d")
    assert contract.table_by_name["usage"].column("usage_plan").source == "plan"
    assert "users has a plan, too; they agree for 50%" in draft.text


def test_names_that_a_contract_does_not_take(tmp_path: Path) -> None:
    header = "user_id,Größe (cm),2nd line,order,as_of,monthlyFee"
    folder = write(tmp_path, d__Kunden_Liste_csv=rows(header, "a,180,x,1,1,2.5", "b,170,y,2,3,3.5"))
    _, contract = drafted(folder / "d")
    assert contract.users.name == "kunden_liste"
    assert {c.name: c.source_name for c in contract.users.values} == {
        "grosse_cm": "Größe (cm)", "n_2nd_line": "2nd line", "kunden_liste_order": "order",
        "kunden_liste_as_of": "as_of", "monthly_fee": "monthlyFee",
    }  # fmt: skip


def test_gzip_parquet_and_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "users.csv.gz").write_bytes(
        gzip.compress("user_id\tcity\na\tKöln\nb\tBonn\n".encode("cp1252"))
    )
    table = pa.table(
        {"user_id": ["a", "b"], "is_new": [True, False], "hours": pa.array([1.5, None])}
    )
    pq.write_table(table, tmp_path / "usage.parquet")
    _, contract = drafted(tmp_path)
    users, usage = contract.users, contract.table_by_name["usage"]
    assert (users.dialect.delimiter, users.dialect.encoding) == ("\t", "cp1252")
    assert users.files in ("users.csv", "users.csv.gz")
    assert usage.dialect.format == "parquet"
    assert {c.name: c.kind for c in usage.values} == {"is_new": "bool", "hours": "float"}


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(ChurnError, match=r"broken.parquet was passed over"):
        read_exports(tmp_path)
    with pytest.raises(ChurnError, match="there is no folder"):
        read_exports(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("texts", "kind", "formats"),
    [
        (["31/01/2024", "15/4/2023"], "date", ("%d/%m/%Y",)),
        (["2024-01-31", "31/01/2024", "15/01/2024"], "date", ("%d/%m/%Y", "%Y-%m-%d")),
        (["2024-01-31 12:00:00"], "date", ("%Y-%m-%d %H:%M:%S",)),
        (["007", "123"], "string", ()),
        (["TRUE", "False", "true"], "bool", ()),
        (["1", "2", ""], "int", ()),
        (["1.5", "2"], "float", ()),
        (["12 %", "7 %"], "string", ()),
        ([""], "string", ()),
    ],
)
def test_a_column_by_its_texts(texts: list[str], kind: str, formats: tuple[str, ...]) -> None:
    seen = profile("x", dict.fromkeys(texts, 1), Marks())
    assert (seen.kind, seen.formats) == (kind, formats)


def test_what_is_unsure_is_said() -> None:
    swapped = profile("day", {"01/02/2024": 1, "03/04/2024": 1}, Marks())
    assert swapped.is_unsure
    assert "day and month may be the other way round" in swapped.notes[0]
    two = profile("is_new", {"TRUE": 1, "true": 1, "false": 1}, Marks())
    assert two.true == ("TRUE", "true")
    assert marks_of([{"1,234": 1, "5,678": 1}]) == (Marks(","), True)
    assert marks_of([{"1,234": 1, "5,67": 1}]) == (Marks(","), False)
    assert marks_of([{"1,234.5": 1}]) == (Marks(".", ","), False)
    assert profile("fee", {"-3": 1, "4": 1}, Marks()).minimum == -3
