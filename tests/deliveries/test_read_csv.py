import datetime as dt
import gzip
import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pytest

from churn.contract.in_force import LABELS, USERS
from churn.deliveries.diagnose import diagnose
from churn.deliveries.files import arrow_schema
from churn.deliveries.problems import Problem, summary, text
from churn.deliveries.read_csv import read_csv
from churn.deliveries.rules import load
from tests.kit.small_drop import FILES
from tests.kit.streamflow import PAYMENTS, SUBSCRIPTIONS, USAGE

USERS_CSV = FILES["users.csv"]
USAGE_HEADER = FILES["usage_agg_30d.csv"].splitlines()[0]


def only(problems: Sequence[Problem]) -> Problem:
    assert len(problems) == 1, text(problems)
    return problems[0]


def sound(data: bytes, table=USERS) -> pa.Table:
    reading, problems = load(data, table)
    assert not problems
    assert reading.sha256 == hashlib.sha256(data).hexdigest()
    assert reading.rows is not None
    return reading.rows


def refused(data: str | bytes, table=USERS) -> list[Problem]:
    _, problems = load(data.encode() if isinstance(data, str) else data, table)
    assert problems
    assert all(problem.what and problem.remedy for problem in problems)
    return problems


def test_typed_rows_in_the_order_of_the_contract():
    rows = sound(FILES["subscriptions.csv"].encode(), SUBSCRIPTIONS)
    assert rows.schema == arrow_schema(SUBSCRIPTIONS)
    assert rows.to_pylist()[1] == {
        "user_id": "b",
        "months_active": 34,
        "plan_stream_tv": None,
        "plan_stream_movies": None,
        "contract_type": "One year",
        "paperless_billing": False,
        "monthly_fee": 56.95,
        "total_paid": 1889.5,
        "net_service": "No",
        "add_on_security": None,
        "add_on_backup": None,
        "add_on_device_protect": None,
        "add_on_support": None,
    }


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + USERS_CSV.encode(),
        USERS_CSV.replace("\n", "\r\n").encode(),
        USERS_CSV.replace("\n", "\r").encode(),
        USERS_CSV.rstrip("\n").encode(),
        ("\n" + USERS_CSV.replace("\n", "\n\n")).encode(),
        USERS_CSV.replace("Female", '"Female"').replace("a,", '"a",', 1).encode(),
        "\n".join(",".join(line.split(",")[::-1]) for line in USERS_CSV.splitlines()).encode(),
        USERS_CSV.replace("user_", "USER_").replace("has_family", " Has_Family ").encode(),
        gzip.compress(USERS_CSV.encode()),
        gzip.compress(b"\xef\xbb\xbf" + USERS_CSV.replace("user_id", "User_ID").encode()),
    ],
    ids=[
        "bom",
        "crlf",
        "cr",
        "no newline at the end",
        "blank lines",
        "quotes",
        "column order",
        "header in capitals",
        "compressed",
        "compressed, bom, header in capitals",
    ],
)
def test_what_a_spelling_cannot_change(data: bytes):
    assert sound(data) == sound(USERS_CSV.encode())


def test_quoting_as_the_csv_standard_says():
    data = b'user_id,failed_payments_90d\n"a, ""b""",1\n"",2\n'
    rows = read_csv(data, PAYMENTS).rows
    assert rows is not None
    assert rows["user_id"].to_pylist() == ['a, "b"', None]


def test_a_user_id_that_looks_like_a_hexadecimal_number_is_text():
    rows = sound(b"user_id,failed_payments_90d\n0x1F,1\n", PAYMENTS)
    assert rows["user_id"].to_pylist() == ["0x1F"]


@pytest.mark.parametrize("written", ["12.0", " 12.000", '"12.0"', "12"])
@pytest.mark.parametrize("also", ["", "x"], ids=["read at once", "diagnosed"])
def test_a_whole_number_may_be_written_with_a_point(written: str, also: str):
    data = f"USER_ID,Failed_Payments_90d\na,{written}\nb,0.0\nc,\n{also},\n".encode()
    rows = diagnose(data, PAYMENTS).rows if also else sound(data.removesuffix(b",\n"), PAYMENTS)
    assert rows is not None
    assert rows["failed_payments_90d"].to_pylist()[:3] == [12, 0, None]


@pytest.mark.parametrize("written", ["12.5", "12.0.0", "12.01", "0x1F.0", "12.", ".0", "12,0"])
def test_a_number_with_a_fraction_is_no_whole_number(written: str):
    problem = only(refused(f'user_id,failed_payments_90d\na,1.0\nb,"{written}"\n', PAYMENTS))
    assert (problem.row, problem.value) == (3, written)
    assert "not a whole number" in problem.what


def test_a_broken_gzip_file_is_named():
    whole = gzip.compress(USERS_CSV.encode())
    for data in (whole[:-12], whole[:20] + b"\0\0\0\0" + whole[24:]):
        assert "the gzip file is broken" in only(refused(data)).what


def test_lines_of_a_compressed_file_are_those_of_its_text():
    data = gzip.compress(b"user_id,failed_payments_90d\n\na,1\nb,-1\n")
    assert only(refused(data, PAYMENTS)).row == 4


@pytest.mark.parametrize("data", ["", "\n \n", "\ufeff"])
def test_an_empty_file(data: str):
    assert only(refused(data)).what == "the file is empty"


def test_a_header_alone():
    assert "no rows" in only(refused(USERS_CSV.splitlines()[0] + "\n")).what


def test_a_missing_column_names_the_columns_due():
    problem = only(refused("user_id\na\n", PAYMENTS))
    assert (problem.row, problem.column) == (1, "failed_payments_90d")
    assert "user_id, failed_payments_90d" in problem.remedy


def test_strange_repeated_and_nameless_columns():
    problems = refused("user_id,failed_payments_90d,USER_ID,fee,\na,1,a,2,\n", PAYMENTS)
    assert [(p.column, p.what.split(" 2 ")[0]) for p in problems] == [
        ("user_id", "the column stands"),
        ("fee", "is not a column of this file"),
        ("", "a column has no name"),
    ]


def test_semicolons_are_named():
    assert any("commas" in p.remedy for p in refused(USERS_CSV.replace(",", ";")))


def test_latin_1_names_row_and_byte():
    problem = only(
        refused(USERS_CSV.replace("b,2021-03-01,Male", "b,2021-03-01,Mâle").encode("latin-1"))
    )
    assert (problem.row, problem.value) == (3, "byte 0xe2 at 15")
    assert "UTF-8" in problem.remedy


def test_utf_16_is_named():
    assert "UTF-16" in only(refused(USERS_CSV.encode("utf-16"))).what


def test_ragged_rows_name_their_lines():
    problems = refused("user_id,failed_payments_90d\na,1,9\n\nb\nc,2\nd,1,9\n", PAYMENTS)
    assert [(p.row, p.what) for p in problems] == [
        (2, "the row has 3 values where the header has 2"),
        (6, "the row has 3 values where the header has 2"),
        (4, "the row has 1 values where the header has 2"),
    ]


@pytest.mark.parametrize("tail", ["", "c,3\nd,4\n"])
def test_a_quote_that_is_never_closed(tail: str):
    problem = only(refused(f'user_id,failed_payments_90d\na,1\n"b,2\n{tail}', PAYMENTS))
    assert problem.row == 3
    assert "quote" in problem.remedy


def test_a_never_closed_quote_in_a_last_text_column_swallows_no_rows():
    # A plain reader takes everything up to the end of the file for the last value.
    data = 'failed_payments_90d,user_id\n1,a\n2,"b\n3,c\n'
    assert only(refused(data, PAYMENTS)).row == 3


def test_two_open_quotes_do_not_hide_the_rows_between_them():
    between = "".join(f"{i},u{i}\n" for i in range(20_000))
    data = f'failed_payments_90d,user_id\n1,a\n2,"b\n{between}3,"c\n'
    problem = only(refused(data, PAYMENTS))
    assert "quot" in problem.what
    assert problem.row == 3


def test_text_after_a_closing_quote_does_not_stop_the_diagnosis():
    assert only(refused('user_id,failed_payments_90d\n"a"x,-1\n', PAYMENTS)).row == 2


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("unique_devices_30d", "3.5", "whole number"),
        ("unique_devices_30d", "three", "whole number"),
        ("unique_devices_30d", " ", "whole number"),
        ("unique_devices_30d", "0x1F", "whole number"),
        ("unique_devices_30d", "1e3", "whole number"),
        ("unique_devices_30d", "-1", "between 0 and"),
        ("unique_devices_30d", "2147483648", "between 0 and 2,147,483,647"),
        ("unique_devices_30d", "99999999999999999999", "too large"),
        ("watch_hours_30d", "a lot", "not a number"),
        ("watch_hours_30d", "1,5", "not a number"),
        ("watch_hours_30d", "-0.5", "between 0 and 744"),
        ("watch_hours_30d", "744.5", "between 0 and 744"),
        ("watch_hours_30d", "NaN", "between 0 and 744"),
        ("watch_hours_30d", "inf", "between 0 and 744"),
        ("watch_hours_30d", "1e999", "between 0 and 744"),
    ],
)
def test_an_impossible_number_names_row_column_and_value(column: str, value: str, words: str):
    names = USAGE_HEADER.split(",")
    cells = dict.fromkeys(names, "1") | {"user_id": "b", column: f'"{value}"'}
    row = ",".join(cells[name] for name in names)
    problem = only(refused(f"{USAGE_HEADER}\na,1,1,1,1,1\n{row}\n", USAGE))
    assert (problem.file, problem.row, problem.column) == ("usage_agg_30d.csv", 3, column)
    assert words in problem.what
    if words not in ("whole number",):
        assert problem.value


@pytest.mark.parametrize(
    "value",
    [
        "2024-02-30",
        "2024-1-1",
        "01.02.2024",
        "20240101",
        "2024-01-01 00:00:00",
        "0000-01-01",
        "today",
    ],
)
def test_a_date_that_is_none(value: str):
    problem = only(refused(USERS_CSV.replace("2021-03-01", value)))
    assert (problem.row, problem.column, problem.value) == (3, "signup_date", value)


@pytest.mark.parametrize("value", ["1899-12-31", "2200-01-01"])
def test_a_date_beyond_reason(value: str):
    problem = only(refused(USERS_CSV.replace("2021-03-01", value)))
    assert (problem.row, problem.value) == (3, value)
    assert "1900-01-01" in problem.what


@pytest.mark.parametrize("value", ["yes", "true", "TRUE", "1", "0", " True", "NULL", "nan", "None"])
def test_a_boolean_is_written_in_one_way(value: str):
    problem = only(refused(USERS_CSV.replace("Male,True", f"Male,{value}")))
    assert (problem.row, problem.column, problem.value) == (3, "user_is_senior", value)
    assert "True or False" in problem.remedy


def test_the_words_for_nothing_are_text_in_a_text_column():
    rows = sound(USERS_CSV.replace("Male", "NULL").encode())
    assert rows["user_gender"].to_pylist() == ["Female", "NULL", "Female"]


def test_an_optional_column_may_be_absent_where_another_is_wrong():
    problem = only(refused(FILES["subscriptions.csv"].replace("b,34", "b,3.4"), SUBSCRIPTIONS))
    assert (problem.row, problem.column) == (3, "months_active")


def test_rows_that_are_all_ragged():
    problems = [problem.what for problem in refused("user_id,failed_payments_90d\na\n", PAYMENTS)]
    assert problems[0] == "the row has 1 values where the header has 2"
    assert "no rows" in problems[1]


def test_what_only_the_fast_reader_refuses_is_said_in_its_words():
    problem = only(
        diagnose(b"user_id,failed_payments_90d\na,1\n", PAYMENTS, "out of sync").problems
    )
    assert problem.what == "the file cannot be read: out of sync"


def test_duplicate_users_name_every_row():
    problems = refused("user_id,failed_payments_90d\na,1\nb,1\n\na,2\n", PAYMENTS)
    assert [(p.row, p.value, p.what) for p in problems] == [
        (2, "a", "stands in several rows"),
        (5, "a", "stands in several rows"),
    ]


@pytest.mark.parametrize("user", ["", '""'])
def test_a_blank_user(user: str):
    problem = only(refused(f"user_id,failed_payments_90d\na,1\n{user},2\n", PAYMENTS))
    assert (problem.row, problem.column, problem.what) == (3, "user_id", "is blank")


@pytest.mark.parametrize("user", [" ", " b", "b\t", "b\0", '"b\nc"'])
def test_a_user_of_spaces_and_control_characters(user: str):
    problems = refused(f"user_id,failed_payments_90d\na,1\n{user},2\n", PAYMENTS)
    assert {(p.row, p.column) for p in problems} == {(3, "user_id")}


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("b\u00a0", "invisible character or an unusual space"),
        ("b\u200b", "invisible character or an unusual space"),
        ("b\u3000", "invisible character or an unusual space"),
        ("b\x85", "invisible character or an unusual space"),
        ("\ufeffb", "invisible character or an unusual space"),
        ("Jose\u0301", "composed form (NFC)"),
        ("x" * 256, "longer than 255 characters"),
        ("NULL", "a word for a missing value or a total"),
        ("nan", "a word for a missing value or a total"),
        ("None", "a word for a missing value or a total"),
        ("N/A", "a word for a missing value or a total"),
        ("Total", "a word for a missing value or a total"),
    ],
)
def test_an_id_that_is_none_names_its_row(user: str, words: str):
    problem = only(refused(f"user_id,failed_payments_90d\na,1\n{user},2\n", PAYMENTS))
    assert (problem.row, problem.column) == (3, "user_id")
    assert words in problem.what


def test_what_cannot_be_seen_is_spelled_out_once():
    problems = refused("user_id,failed_payments_90d\na,1\nb\u200b,2\n", PAYMENTS)
    assert r"'b\u200b' holds an invisible character" in text(problems)


@pytest.mark.parametrize("twin", ["José b\u200b", "Jose\u0301 b", "José\u00a0b", "José  b"])
def test_two_ids_that_look_alike_are_both_named(twin: str):
    data = f"user_id,failed_payments_90d\nJosé b,1\nc,1\n{twin},2\n"
    alike = [p for p in refused(data, PAYMENTS) if "differs from another row's id" in p.what]
    assert [p.row for p in alike] == [2, 4]


@pytest.mark.parametrize(
    "user", ["rxIP2f2aN0rYNp+toI0Obt/N/FYQX8hcO1fTmmy2h34=", "#17", "a%2Fb", "José b"]
)
def test_an_unusual_id_is_one_all_the_same(user: str):
    assert sound(f"user_id,failed_payments_90d\na,1\n{user},2\n".encode(), PAYMENTS).num_rows == 2


def test_a_label_is_never_blank():
    problem = only(refused("user_id,churn_label\na,\nb,True\n", LABELS))
    assert (problem.row, problem.column) == (2, "churn_label")


def test_unreadable_cells_do_not_hide_what_else_is_wrong():
    problems = refused("user_id,churn_label\na,maybe\nb,\nb,True\nc\n", LABELS)
    assert [(p.row, p.column, p.value) for p in problems] == [
        (5, "", ""),
        (2, "churn_label", "maybe"),
        (3, "user_id", "b"),
        (4, "user_id", "b"),
        (3, "churn_label", ""),
    ]


def test_lines_are_counted_as_an_editor_does():
    data = "\n\nuser_id,failed_payments_90d\r\na,1\r\n\r\nb,-1\r\n"
    assert only(refused(data, PAYMENTS)).row == 6


def test_many_of_one_kind_are_counted_and_few_are_listed():
    rows = "".join(f"u{i},-1\n" for i in range(1000)) + "v,1\nv,1\n"
    problems = refused("user_id,failed_payments_90d\n" + rows, PAYMENTS)
    negative = [p for p in problems if p.column == "failed_payments_90d"]
    assert [p.row for p in negative] == [2, 3, 4, 5, 6]
    assert negative[-1].more == 995
    assert summary(problems) == "1002 problems (payments_agg_90d.csv 1002)"


def test_dates_and_numbers_at_the_bounds_pass():
    rows = sound(USERS_CSV.replace("2021-03-01", "1900-01-01").encode())
    assert rows["signup_date"][1].as_py() == dt.date(1900, 1, 1)
    assert sound(f"{USAGE_HEADER}\na,744,10080,0,2147483647,0\n".encode(), USAGE).num_rows == 1


@pytest.mark.parametrize("zero", ["-0.0", "-0", "-.0e5"])
def test_a_negative_zero_is_zero(zero: str):
    rows = sound(f"{USAGE_HEADER}\na,{zero},1.5,1,1,1\n".encode(), USAGE)
    assert str(rows["watch_hours_30d"][0].as_py()) == "0.0"
