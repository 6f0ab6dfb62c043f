"""Writes the views into their page: `python -m churn.database.retention docs/retention-views.md`."""

import sys
from pathlib import Path

from churn.database.retention import page


def main() -> None:
    """Make anew what stands between the marks of the page that is named."""
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
