"""Drift: how far a month is from what the release in force was trained on, column by column; and its page.

The page is a single HTML file that loads nothing and runs no script. It is kept in `reports/drift/` and in
MLflow. Distances are measured in `distance.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from churn.files import write_text
from churn.monitoring.distance import NUMBERS, binned, distances
from churn.monitoring.thresholds import SCORE, Thresholds, read_thresholds
from churn.months import Month
from churn.settings import get_settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Window:
    """One side of the comparison: the raw features of a month's users, and the scores of those held out.

    A model scores the users that it was fitted on differently from strangers, drift or no drift. Scores are
    therefore compared on users whom no model was fitted on.
    """

    month: Month
    features: "pd.DataFrame"
    scores: "pd.Series[float]"


@dataclass(frozen=True)
class ColumnDrift:
    """The distance of one feature, or of the score, from the reference.

    A provisional threshold is that of the column's kind, not yet of the column itself.
    """

    feature: str
    reference_rows: int
    rows: int
    distance: float
    threshold: float
    is_provisional: bool = False

    @property
    def is_drifted(self) -> bool:
        """Whether the distance is larger than turnover and chance account for."""
        return self.distance > self.threshold


@dataclass(frozen=True)
class Drift:
    """A month compared with the reference.

    `before` and `after` hold the values of reference and month in the reference's bins: one frame of the
    features and one of the score, which have different rows.
    """

    month: Month
    reference: Month
    columns: list[ColumnDrift]
    before: dict[str, "pd.DataFrame"]
    after: dict[str, "pd.DataFrame"]

    @property
    def provisional(self) -> list[str]:
        """The columns whose threshold is that of their kind, until it is calibrated on this deployment."""
        return [column.feature for column in self.columns if column.is_provisional]

    @property
    def drifted(self) -> list[ColumnDrift]:
        """The columns over their threshold, the farthest over it first."""
        over = [column for column in self.columns if column.is_drifted]
        return sorted(over, key=lambda column: column.threshold - column.distance)


def compare(reference: Window, current: Window, thresholds: Thresholds | None = None) -> Drift:
    """Compare a month with a release's training window.

    Args:
        reference: the training window.
        current: a later month.
        thresholds: those to compare with; by default, those of this deployment.

    Raises:
        ChurnError: the month is not later than the reference.
    """
    import pandas as pd

    chosen = thresholds or read_thresholds()
    age = current.month - reference.month
    before, after = {}, {}
    numbers = {name: NUMBERS[name] for name in reference.features.columns}
    before["features"], after["features"] = binned(reference.features, current.features, numbers)
    scores = [pd.DataFrame({SCORE: window.scores}) for window in (reference, current)]
    before[SCORE], after[SCORE] = binned(scores[0], scores[1], {SCORE: True})
    columns = [
        ColumnDrift(
            name,
            len(before[part]),
            len(after[part]),
            distance.value,
            *chosen.of(name, distance, age),
        )
        for part in before
        for name, distance in distances(before[part], after[part]).items()
    ]
    return Drift(current.month, reference.month, columns, before, after)


# A column of free text can have thousands of categories; those beyond this number are drawn as one bar.
_MOST_BARS = 20
_REST = "all others"
_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 62rem;
  padding: 0 1rem; }
table { border-collapse: collapse; }
td, th { padding: .15rem .7rem; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid #999; }
section { margin-top: 2rem; }
h2 { font-size: 1.1rem; margin-bottom: .3rem; }
td.bar { width: 24rem; }
td.bar div { height: .55rem; }
.before { background: #9aa7b5; }
.after { background: #c8553d; }
.key span { display: inline-block; width: .9rem; height: .7rem; margin: 0 .3rem 0 1rem; }
.drifted { font-weight: bold; color: #a3311a; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ summary }} The distance is Jensen-Shannon's: 0 where both months are alike, 0.83 where they have nothing
in common. The threshold is what turnover and chance bring about in a clean world.
{%- if provisional %} Nobody has looked yet how far {{ provisional | join(", ") }} moves by itself: a
provisional threshold is that of the liveliest column of the kind, until <code>churn contract calibrate</code>
derives it from this deployment's own months.{% endif %}</p>
<table>
<thead><tr><th>column</th><th class="number">distance</th><th class="number">threshold</th>
<th></th></tr></thead>
<tbody>
{% for each in columns %}
<tr{% if each.is_drifted %} class="drifted"{% endif %}>
<td><a href="#{{ loop.index }}">{{ each.feature }}</a></td>
<td class="number">{{ "%.4f" | format(each.distance) }}</td>
<td class="number">{{ "%.4f" | format(each.threshold) }}{{ " provisional" if each.is_provisional }}</td>
<td>{{ "drifted" if each.is_drifted }}</td>
</tr>
{% endfor %}
</tbody>
</table>
<p class="key"><span class="before"></span>{{ reference }}<span class="after"></span>{{ month }}</p>
{% for each in columns %}
<section id="{{ loop.index }}">
<h2>{{ each.feature }}</h2>
<p>{{ "{:,}".format(each.reference_rows) }} users of {{ reference }},
{{ "{:,}".format(each.rows) }} of {{ month }}</p>
<table>
{% for bin in bins[each.feature] %}
<tr><td>{{ bin.name }}</td>
<td class="bar"><div class="before" style="width: {{ "%.2f" | format(bin.before * 100) }}%"></div>
<div class="after" style="width: {{ "%.2f" | format(bin.after * 100) }}%"></div></td>
<td class="number">{{ "%.1f" | format(bin.before * 100) }} %</td>
<td class="number">{{ "%.1f" | format(bin.after * 100) }} %</td></tr>
{% endfor %}
</table>
</section>
{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True)
class BinShares:
    """One bin of a column: the share of the users in it, 0 to 1, in the training window and in the month."""

    name: str
    before: float
    after: float


def drift_page_path(month: Month) -> Path:
    """Return the path of a month's page."""
    return get_settings().reports / "drift" / f"{month}.html"


def write_drift_page(drift: Drift) -> Path:
    """Write the page; the old one stays until the new one is complete."""
    path = drift_page_path(drift.month)
    write_text(path, drift_page(drift))
    return path


def drift_page(drift: Drift) -> str:
    """Return the page as HTML, in which whatever the data contain is text, never markup."""
    from jinja2 import Environment

    drifted = len(drift.drifted)
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    html: str = template.render(
        title=f"Drift of {drift.month} against {drift.reference}",
        summary=f"{drifted} of {len(drift.columns)} columns drifted.",
        month=str(drift.month),
        reference=str(drift.reference),
        provisional=drift.provisional,
        columns=sorted(drift.columns, key=_distance_below_threshold),
        bins={
            str(name): list(_bin_shares(before[name], drift.after[part][name]))
            for part, before in drift.before.items()
            for name in before.columns
        },
    )
    return html


def _distance_below_threshold(column: ColumnDrift) -> float:
    return column.threshold - column.distance


def _bin_shares(before: "pd.Series[Any]", after: "pd.Series[Any]") -> Iterator[BinShares]:
    """Yield the non-empty bins in the order of the column's bins; if there are many, the largest ones."""
    shares = [column.value_counts(normalize=True, sort=False) for column in (before, after)]
    names = list(dict.fromkeys([*shares[0].index, *shares[1].index]))
    bins = [BinShares(str(n), *(float(share.get(n, 0.0)) for share in shares)) for n in names]
    used = [each for each in bins if each.before or each.after]
    if len(used) > _MOST_BARS:
        used.sort(key=lambda each: (-each.before - each.after, each.name))
    yield from used[:_MOST_BARS]
    if rest := used[_MOST_BARS:]:
        yield BinShares(_REST, sum(each.before for each in rest), sum(each.after for each in rest))
