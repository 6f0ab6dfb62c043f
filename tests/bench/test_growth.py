from typing import Any

import pytest

from bench.growth import NAME, exponent, growth_png

USERS = (7, 70, 700)


def _record(stage: str, seconds: tuple[float, ...]) -> dict[str, Any]:
    more = {f"s_{users}_users": taken for users, taken in zip(USERS, seconds, strict=True)}
    return {"name": f"{NAME}{stage}", "ours": exponent(USERS, seconds), "more": more}


@pytest.mark.parametrize(("power", "factor"), [(1.0, 3.0), (0.5, 1.0), (2.0, 0.1)])
def test_the_exponent_of_a_power_is_its_power(power: float, factor: float) -> None:
    assert exponent(USERS, [factor * n**power for n in USERS]) == pytest.approx(power)


def test_the_plot_is_the_same_picture_each_time_and_shows_the_stages() -> None:
    records = [_record("raw tables", (0.1, 1.0, 9.0))]
    picture = growth_png(records)
    assert picture == growth_png(records)
    assert picture != growth_png([*records, _record("snapshots", (0.2, 0.4, 0.8))])
    assert picture == growth_png([*records, {"name": "publish", "ours": 1.0, "more": {}}])
