"""The schema `retention`: views for those who build on what is recorded here, and cannot read Python.

They are a contract of their own, told in docs/retention-views.md: a later version adds columns to the end
of a view and takes none away. They read what stages have recorded and compute nothing that a stage
computes; a figure that a view lacks is recorded first, by the stage that knows it.

No view reads what others drop and make again (`online.users`, the `..._current` views). What alters a
column that a view reads needs a step in `steps.py` that drops the view before: it is made again at the
end, and default privileges let its readers in.
"""

from churn.database.retention.customers import ACTION_LIST, CUSTOMER_HISTORY
from churn.database.retention.declared import SCHEMA, RetentionView
from churn.database.retention.impact import UPLIFT, UPLIFT_SEGMENT, UPLIFT_TOTAL
from churn.database.retention.months import MONTH_VIEW, PERFORMANCE
from churn.database.retention.records import CAMPAIGNS, DECISIONS, DELIVERIES
from churn.database.retention.segments import REASON_MONTH, SEGMENT_MONTH

RETENTION_VIEWS: tuple[RetentionView, ...] = (
    MONTH_VIEW,
    ACTION_LIST,
    CUSTOMER_HISTORY,
    SEGMENT_MONTH,
    UPLIFT,
    DECISIONS,
    DELIVERIES,
    PERFORMANCE,
    CAMPAIGNS,
    REASON_MONTH,
    UPLIFT_SEGMENT,
    UPLIFT_TOTAL,
)
BEGIN, END = "<!-- views -->", "<!-- /views -->"

__all__ = ["BEGIN", "END", "RETENTION_VIEWS", "SCHEMA", "RetentionView", "page"]


def page(text: str) -> str:
    """Return docs/retention-views.md with what stands between its marks made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n\n".join("\n".join(view.page()) for view in RETENTION_VIEWS)
    return f"{before}{BEGIN}\n{lines}\n{END}{after}"
