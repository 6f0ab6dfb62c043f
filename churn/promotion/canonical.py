"""One spelling per content: the JSON text that releases and ledger entries are hashed over."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def canonical(content: Mapping[str, Any]) -> str:
    """Return the one JSON text of a content: sorted names, no blanks, null for what is no number."""
    return json.dumps(
        _plain(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256(text: str) -> str:
    """Return the sha256 (hex) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return value
    if hasattr(value, "_asdict"):  # a named tuple, such as an interval
        return _plain(value._asdict())
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
