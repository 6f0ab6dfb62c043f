import io
import itertools
import json
import re
from typing import Any

import pytest
from matplotlib.text import Text
from PIL import Image

from bench.document import PAGE, PICTURE, PROFILE, RESULTS, marks, page_text, read_results
from bench.plot import SOURCE, bars, digest, performance_figure, performance_png


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


PLANTED = [
    {
        "name": f"a row with a long name, number {number}", "size": "of a size that takes many words",
        "ours": times, "unit": "rows/s", "beside": {"a peer with a long name, too": 1.0},
        "goals": [], "met": None,
    }
    for number, times in enumerate((0.0123, 0.999, 1.0, 1_234.0))
]  # fmt: skip


@pytest.mark.parametrize("records", [read_results(), PLANTED], ids=["kept", "planted"])
def test_no_text_of_the_picture_is_cut_off_or_lies_over_another(
    records: list[dict[str, Any]],
) -> None:
    figure = performance_figure(records)
    figure.canvas.draw()
    [axes] = figure.axes
    low, high = axes.get_xlim()
    outside = {  # matplotlib keeps ticks that lie beyond the axis, and does not draw them
        tick.label1
        for tick in [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
        if not low <= tick.get_loc() <= high
    }
    written = [
        (each.get_text(), each.get_window_extent())
        for each in figure.findobj(Text)
        if each.get_text() and each.get_visible() and each not in outside
    ]
    shown = {text for text, _ in written}
    for bar in bars(records):
        assert {bar.label, f"{bar.times:.3g}x"} <= shown
    width, height = figure.canvas.get_width_height()
    for text, box in written:
        assert box.x0 >= 0 < box.y0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (text, box), (other, its_box) in itertools.combinations(written, 2):
        assert not box.overlaps(its_box), (text, other)


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
