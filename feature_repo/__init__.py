"""The Feast repository: entity, sources, views and services, built from `churn.contract`; and Feast's stores.

Feast lets typeguard check the arguments of its constructors, for which typeguard recompiles each class
whenever Feast is imported: that takes three quarters of the import. What this project passes is checked by
mypy, so in its processes the classes stay as they are.
"""

from typing import Any

import typeguard


def _as_it_is(target: Any = None, **_: Any) -> Any:
    """Stand in for `typeguard.typechecked`, with and without arguments, and change nothing."""
    return _as_it_is if target is None else target


# This must precede the first import of Feast, whose modules take the name from typeguard then.
setattr(typeguard, "typechecked", _as_it_is)  # noqa: B010  (for mypy, the name is a constant)
