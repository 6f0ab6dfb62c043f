"""Rows of who was erased are left out of a file, whatever its shape; every other byte stays."""

import dataclasses
import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.contract.in_force import USERS
from churn.contract.structure import CANONICAL, Table
from churn.deliveries.erased import Erased, hashed_id, without_rows

GONE = "Zoë-1"


def is_gone(cell: str) -> bool:
    return cell.strip() == GONE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"user_id,x\n{GONE},1\nb,2\n", "user_id,x\nb,2\n"),
        (f"user_id,x\r\nb,2\r\n{GONE},1", "user_id,x\r\nb,2\r\n"),
        (f'\ufeffuser_id,x\n"{GONE}","a\nb"\n"b","c\n{GONE},d"\n', '\ufeffuser_id,x\n"b","c\n'
                                                                   f'{GONE},d"\n'),
        (f"x,USER_ID \n1, {GONE}\n\n2,b\n", "x,USER_ID \n\n2,b\n"),
        (f"user_id,x\n{GONE}x,1\nb,{GONE}\n", f"user_id,x\n{GONE}x,1\nb,{GONE}\n"),  # no key
        ("", ""),
    ],
)  # fmt: skip
def test_records_of_a_table_are_left_out_by_their_key(before: str, after: str) -> None:
    content, removed = without_rows(before.encode(), CANONICAL, USERS, is_gone)
    assert content.decode() == after
    assert removed == (before != after)


def test_a_file_that_selects_read_is_searched_in_every_column() -> None:
    dialect = dataclasses.replace(CANONICAL, delimiter=";", encoding="cp1252")
    before = f"vertrag;kunde\n7;{GONE}\n8;b\n".encode("cp1252")
    content, removed = without_rows(before, dialect, None, is_gone)
    assert (content, removed) == (b"vertrag;kunde\n8;b\n", 1)


@pytest.mark.parametrize("table", [USERS, None])
def test_compressed_files_and_parquet_stay_what_they_are(table: Table | None) -> None:
    packed = gzip.compress(f"user_id\n{GONE}\nb\n".encode())
    content, removed = without_rows(packed, CANONICAL, table, is_gone)
    assert (gzip.decompress(content), removed) == (b"user_id\nb\n", 1)
    assert without_rows(packed, CANONICAL, table, is_gone)[0] == content  # the same each time
    assert without_rows(content, CANONICAL, table, is_gone) == (content, 0)
    file = io.BytesIO()
    pq.write_table(pa.table({"user_id": [GONE, "b"], "x": [1, None]}), file)
    dialect = dataclasses.replace(CANONICAL, format="parquet")
    content, removed = without_rows(file.getvalue(), dialect, table, is_gone)
    rows = pq.read_table(io.BytesIO(content)).to_pydict()
    assert (rows, removed) == ({"user_id": ["b"], "x": [None]}, 1)


def test_a_hash_tells_nothing_without_the_salt() -> None:
    salts = (b"one", b"two")
    first, second = (hashed_id(salt, GONE) for salt in salts)
    assert first != second
    assert Erased(salts[0], frozenset([first])).holds(f" {GONE} ")
    assert not Erased(salts[1], frozenset([first])).holds(GONE)
