"""Which deliveries one is compared with: what was known by then, and what is in force of it by now.

A function of the accepted deliveries alone, so that any order of a backfill ends in the same judgements.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from churn.deliveries.ledger import Delivery
from churn.months import Month

_EARLIER_MONTHS = 2


@dataclass(frozen=True)
class Neighbours:
    """The versions beside which a delivery is judged, the one that counts most first.

    Args:
        before: of the last two earlier months. A file that does not fit the first may fit another without
            any fault: then it is the first that is wrong, and was corrected later or is blocked itself.
        after: of the next month, where that was known before this delivery: a correction, or a late drop.
    """

    before: tuple[Delivery, ...]
    after: tuple[Delivery, ...]


def neighbours(judged: Delivery, deliveries: Sequence[Delivery]) -> Neighbours:
    """Return what a delivery is compared with.

    Args:
        judged: the delivery.
        deliveries: every accepted version of the same file, of all months.
    """
    months = sorted({other.month for other in _known_before(judged, deliveries)})
    before = [month for month in months if month < judged.month][-_EARLIER_MONTHS:]
    after = [month for month in months if month > judged.month][:1]
    return Neighbours(
        tuple(v for month in reversed(before) for v in _versions(month, judged, deliveries)),
        tuple(v for month in after for v in _versions(month, judged, deliveries)),
    )


def twin(judged: Delivery, deliveries: Sequence[Delivery]) -> Delivery | None:
    """Return the delivery of another month whose content this one repeats, if it is in force there."""
    for other in _known_before(judged, deliveries):
        if other.fingerprint == judged.fingerprint and other == _newest(other.month, deliveries):
            return other
    return None


def _known_before(judged: Delivery, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return the versions of other months that were known before; of two known at once, the later month's."""
    return [
        other
        for other in deliveries
        if other.month != judged.month
        and (other.known_at, other.month) < (judged.known_at, judged.month)
    ]


def _versions(month: Month, judged: Delivery, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return a month's version that was in force when the judged one became known, and the newest."""
    known = [other for other in _known_before(judged, deliveries) if other.month == month]
    then, now = max(known, key=lambda each: each.known_at), _newest(month, deliveries)
    return [then] if now == then else [then, now]


def _newest(month: Month, deliveries: Sequence[Delivery]) -> Delivery:
    return max((d for d in deliveries if d.month == month), key=lambda each: each.known_at)
