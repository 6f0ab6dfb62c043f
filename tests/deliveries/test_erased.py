"""Rows of who was erased are left out of a file, whatever its shape; every other byte stays."""

import dataclasses
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.contract.in_force import CONTRACT, USERS
from churn.contract.structure import CANONICAL, SourceFile
from churn.deliveries.erased import (
    Erased,
    KeyNames,
    UnknownKey,
    hashed_id,
    key_names,
    remove_copies,
    without_erased,
    without_rows,
)
from churn.deliveries.problems import Refusal
from tests.kit.small_drop import JANUARY

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
    content, removed = without_rows(before.encode(), CANONICAL, key_names(USERS), is_gone)
    assert content.decode() == after
    assert removed == (before != after)


def test_only_the_column_is_looked_at_that_the_contract_calls_the_key() -> None:
    dialect = dataclasses.replace(CANONICAL, delimiter=";", encoding="cp1252")
    before = f"vertrag;Kunde\n{GONE};a\n7;{GONE}\n8;b\n".encode("cp1252")
    content, removed = without_rows(before, dialect, ("kunde",), is_gone)
    assert (content, removed) == (f"vertrag;Kunde\n{GONE};a\n8;b\n".encode("cp1252"), 1)
    assert without_rows(before, dialect, (), is_gone) == (before, 0)
    # Once it has come to be called otherwise, the column of before is another one.
    content, removed = without_rows(before, dialect, ("kunde", "vertrag"), is_gone)
    assert removed == 1


@pytest.mark.parametrize("key", [None, ("nr",)])
@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_in_no_other_column_is_it_guessed(key: KeyNames, format_: str) -> None:
    dialect = dataclasses.replace(CANONICAL, format=format_)
    for value in ("b", GONE):
        content = f"kunde,x\n{value},1\n".encode()
        if format_ == "parquet":
            file = io.BytesIO()
            pq.write_table(pa.table({"kunde": [value], "x": [1]}), file)
            content = file.getvalue()
        if value == GONE:
            with pytest.raises(UnknownKey, match="which column names customers is not known"):
                without_rows(content, dialect, key, is_gone)
        else:
            assert without_rows(content, dialect, key, is_gone) == (content, 0)


@pytest.mark.parametrize(
    ("key", "what"), [("", "refused"), ("Kunde", "copied"), (None, "as it is")]
)
def test_a_file_that_selects_read_is_cleaned_by_its_key_or_refused(
    tmp_path: Path, key: str | None, what: str
) -> None:
    """The id of somebody erased is another customer's rank, too."""
    contract = dataclasses.replace(
        CONTRACT, source_files=(SourceFile("kunden", "kunden.csv", key=key),)
    )
    folder = tmp_path / "month_000"
    folder.mkdir()
    written = "kunde,rang\n12,1\nb,12\n"
    (folder / "kunden.csv").write_text(written)
    erased = Erased(b"salt", frozenset([hashed_id(b"salt", "12")]))
    cleaned = without_erased(folder, JANUARY, JANUARY, contract, erased, tmp_path / "home")
    if what == "refused":
        with pytest.raises(Refusal, match=r"kunden\.csv \(kunden\): which column names") as refusal:
            cleaned.__enter__()
        assert "key: COLUMN" in refusal.value.remedy
        return
    left = tmp_path / "home" / "tmp" / "of-a-killed-one" / "month_000"
    left.mkdir(parents=True)
    with cleaned as copy:
        content = (copy / "kunden.csv").read_text()
        assert copy == folder or copy.is_relative_to(tmp_path / "home")
        assert not left.exists()
        remove_copies(tmp_path / "home")  # another's is not taken away while it is in use
        assert copy.is_dir()
    assert [path.name for path in (tmp_path / "home" / "tmp").iterdir()] == ["in-use"]
    assert content == ("kunde,rang\nb,12\n" if what == "copied" else written)


def test_the_name_of_another_column_is_not_the_keys() -> None:
    renamed = [
        dataclasses.replace(column, source=source)
        for column, source in zip(USERS.columns, ("kunde", "user_id"), strict=False)
    ]
    assert key_names(dataclasses.replace(USERS, columns=tuple(renamed))) == ("kunde",)
    assert key_names(USERS) == ("user_id", "user_id")


@pytest.mark.parametrize("key", [key_names(USERS), ("user_id",)])
def test_compressed_files_and_parquet_stay_what_they_are(key: KeyNames) -> None:
    packed = gzip.compress(f"user_id\n{GONE}\nb\n".encode())
    content, removed = without_rows(packed, CANONICAL, key, is_gone)
    assert (gzip.decompress(content), removed) == (b"user_id\nb\n", 1)
    assert without_rows(packed, CANONICAL, key, is_gone)[0] == content  # the same each time
    assert without_rows(content, CANONICAL, key, is_gone) == (content, 0)
    file = io.BytesIO()
    pq.write_table(pa.table({"user_id": [GONE, "b"], "x": [1, None]}), file)
    dialect = dataclasses.replace(CANONICAL, format="parquet")
    content, removed = without_rows(file.getvalue(), dialect, key, is_gone)
    rows = pq.read_table(io.BytesIO(content)).to_pydict()
    assert (rows, removed) == ({"user_id": ["b"], "x": [None]}, 1)


def test_a_hash_tells_nothing_without_the_salt() -> None:
    salts = (b"one", b"two")
    first, second = (hashed_id(salt, GONE) for salt in salts)
    assert first != second
    assert Erased(salts[0], frozenset([first])).holds(f" {GONE} ")
    assert not Erased(salts[1], frozenset([first])).holds(GONE)
