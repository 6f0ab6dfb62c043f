from churn.deliveries.problems import (
    Oddity,
    Problem,
    RefusedDrop,
    cells,
    markdown,
    oddities_markdown,
    oddities_text,
    shortened,
    summary,
    text,
    total,
)

CELL = Problem("users.csv", "is not a boolean", "write True or False", 3, "has_family", "a|b", 7)
FILE = Problem("labels.csv", "the file is empty", "export it again")


def test_text_names_place_value_fact_and_remedy():
    assert text([CELL, FILE]).splitlines() == [
        "  users.csv, row 3, column has_family: 'a|b' is not a boolean (and 7 more); write True or False",
        "  labels.csv: the file is empty; export it again",
    ]
    assert summary([CELL, FILE]) == "9 problems (users.csv 8, labels.csv 1)"
    assert summary([FILE]) == "1 problem (labels.csv 1)"
    assert summary([]) == "no problems"


def test_markdown_is_a_table_whatever_the_values_hold():
    header, rule, first, second = markdown([CELL, FILE]).splitlines()
    assert header == "| file | row | column | value | what | more like it | remedy |"
    assert set(rule) == set("|-")
    assert r"| users.csv | 3 | has_family | a\|b | is not a boolean | 7 |" in first
    assert second == "| labels.csv |  |  |  | the file is empty |  | export it again |"
    assert markdown([]) == "no problems"


def test_long_lists_are_cut_and_counted():
    problems = [FILE] * 19 + [CELL] * 3
    assert text(problems).splitlines()[-1] == "  and 16 more problems"
    assert len(text(problems).splitlines()) == 21
    assert "and 16 more problems" in markdown(problems)
    assert total(problems) == 19 + 24


def test_few_cells_of_a_kind_are_listed():
    assert cells(FILE, [(row, "x") for row in range(9)], 9)[-1].more == 4
    assert [problem.more for problem in cells(FILE, [(1, "x"), (2, "y")], 2)] == [0, 0]
    assert cells(FILE, [], 0) == []


def test_values_are_shown_on_one_line():
    assert shortened("a\nb\x00") == r"a\nb\x00"
    assert shortened("é" * 50) == "é" * 39 + "…"


def test_oddities_as_text_and_table():
    odd = [
        Oddity("users.csv", "signup_date", "blank", 1526, 7043),
        Oddity("x.csv", "", "not read", 1, 1),
    ]
    assert oddities_text(odd).splitlines() == [
        "  users.csv signup_date: blank: 1,526 of 7,043",
        "  x.csv: not read: 1 of 1",
    ]
    assert "| users.csv | signup_date | blank | 1,526 | 7,043 |" in oddities_markdown(odd)
    assert oddities_markdown([]) == "nothing odd"


def test_a_refusal_is_an_error_that_a_person_reads():
    error = RefusedDrop([CELL], where="month_000")
    assert error.problems == (CELL,)
    assert str(error).startswith("month_000: 8 problems (users.csv 8)\n  users.csv, row 3")
    assert "nothing of it was taken in" in error.remedy
