"""The Feast repository: entity, sources, views and services, built from `churn.contract`; and Feast's stores.

How months become rows in the lake or online is `churn.lake` and `churn.online`; the two stores here are
Feast's way to both.
"""

from typing import Any

import typeguard


# Feast has the arguments of its constructors checked by typeguard, which parses and compiles each of its
# classes anew whenever Feast is imported: three quarters of the time that the import takes. What this project
# passes to them is checked by mypy, so in its processes the classes stay as they are.
def _as_it_is(target: Any = None, **_: Any) -> Any:
    """Stand in for `typeguard.typechecked`, with and without arguments, and change nothing."""
    return _as_it_is if target is None else target


# This must precede the first import of Feast, whose modules take the name from typeguard then.
setattr(typeguard, "typechecked", _as_it_is)  # noqa: B010  (for mypy, the name is a constant)
