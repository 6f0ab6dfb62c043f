from pathlib import Path

import pytest

from bench.growth import exponent, plot

USERS = (7, 70, 700)


@pytest.mark.parametrize(("power", "factor"), [(1.0, 3.0), (0.5, 1.0), (2.0, 0.1)])
def test_the_exponent_of_a_power_is_its_power(power: float, factor: float) -> None:
    assert exponent(USERS, [factor * n**power for n in USERS]) == pytest.approx(power)


def test_the_plot_is_the_same_picture_each_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot(tmp_path / name, USERS, {"raw tables": (0.1, 1.0, 9.0)})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
