import io
import json
import re

from PIL import Image

from bench.document import PAGE, PICTURE, PROFILE, RESULTS, marks, page_text, read_results
from bench.plot import SOURCE, bars, digest, performance_png


def test_the_tables_are_those_of_what_is_kept() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [page.count(mark) for name in (RESULTS, PROFILE) for mark in marks(name)] == [1] * 4
    assert page == page_text(page)


def test_the_picture_shows_the_kept_results() -> None:
    records = read_results()
    assert Image.open(PICTURE).text[SOURCE] == digest(records)  # type: ignore[attr-defined]
    drawn = performance_png(records)
    assert drawn == performance_png(records)
    assert Image.open(io.BytesIO(drawn)).size[0] > 800


def test_a_bar_is_times_as_fast_and_finds_its_goal() -> None:
    goal = {"text": "of constant >= 0.6", "met": False, "value": 0.5, "bound": 0.6}
    rate = {"name": "a", "size": "b", "ours": 2.0, "unit": "requests/s", "beside": {"p": 4.0}}
    [bar] = bars([rate | {"goals": [goal], "met": False}])
    assert (bar.times, bar.goal, bar.label) == (0.5, 0.6, "a (b)  |  p")
    goal = {"text": "ratio <= 1.5", "met": True, "value": 0.5, "bound": 1.5}
    [bar] = bars([rate | {"unit": "s", "goals": [goal], "met": True}])
    assert (bar.times, bar.goal) == (2.0, 1 / 1.5)


def test_every_row_of_the_results_is_whole() -> None:
    names = {record["name"] for record in read_results()}
    assert len(names) > 0
    assert not re.search(r"nan|Infinity", json.dumps(read_results()), re.I)
