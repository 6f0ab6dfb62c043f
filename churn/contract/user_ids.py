"""What a user_id may be: one rule for deliveries, treatments, the API and the command line.

An id is kept as it is, byte for byte, and no two ids may look alike. So it must be in Unicode's composed form
(NFC), and may hold no invisible character and no spaces but single ordinary ones inside. Nor may it be a word
that exports write where there is no user.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

# The API, which must start quickly, checks one id at a time and needs none of these.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from churn.arrays import Bools, Ints

    Rows = Ints
    Points = npt.NDArray[np.uint32]

# In characters: at most 1,020 bytes, while an index of Postgres takes 2,704.
LONGEST = 255

# Words for a null, a missing value or a row of totals in databases, spreadsheets and statistics programs; and
# "." and "..", which clients remove from a URL before they send it.
WORDS = frozenset(
    [
        *("null", "(null)", "[null]", "<null>", "#null!", r"\n", "nil", "none", "nan", "nat"),
        *("na", "n/a", "#n/a", "<na>", "undefined", "unknown", "(blank)"),
        *("user_id", "-", ".", ".."),
        *("total", "totals", "grand total", "subtotal", "gesamt", "gesamtergebnis", "summe"),
        *("total general", "totale", "totale complessivo", "eindtotaal"),
    ]
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
# C1 controls, separators, what Unicode calls default-ignorable, and the blank Braille pattern.
_UNSEEN = (
    "\u0080-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{_SPACES}{_UNSEEN}]")
_PLAIN = re.compile(rf"[\x21-\x7e]{{1,{LONGEST}}}")
_SPACE, _LAST_ASCII = 0x20, 0x7E
# Hangul vowels and finals, which compose with the character before them.
_JAMO = range(0x1160, 0x1200)


@dataclass(frozen=True)
class Rule:
    """One thing that an id may not be.

    Args:
        what: the fault, as a phrase that follows the id.
        remedy: what the sender should change.
        is_broken_by: whether a text has the fault.
    """

    what: str
    remedy: str
    is_broken_by: Callable[[str], bool]


RULES = (
    Rule(
        "holds a line break or another control character",
        'remove it (a quote " that is never closed also does this)',
        lambda text: _CONTROL.search(text) is not None,
    ),
    Rule(
        "holds an invisible character or an unusual space (no-break, zero-width, byte order mark)",
        "remove it",
        lambda text: _INVISIBLE.search(text) is not None,
    ),
    Rule(
        "begins or ends with a space, or is only spaces",
        "remove them",
        lambda text: text.startswith(" ") or text.endswith(" "),
    ),
    Rule(
        f"is longer than {LONGEST} characters",
        "use a shorter id, the same in every file and month",
        lambda text: len(text) > LONGEST,
    ),
    Rule(
        "is not in Unicode's composed form (NFC): it looks like another id than it is",
        "write ids in NFC, the same in every file and month",
        lambda text: not unicodedata.is_normalized("NFC", text),
    ),
    Rule(
        "is a word for a missing value or a total, and no user's id",
        "remove the row, or write the user's own id",
        lambda text: text.lower() in WORDS,
    ),
)


def fault_of(user_id: str) -> Rule | None:
    """Return the first rule that a user_id breaks; None for a sound one."""
    if _PLAIN.fullmatch(user_id) and user_id.lower() not in WORDS:
        # This is the usual case, and needs no look at every rule.
        return None
    return next((rule for rule in RULES if rule.is_broken_by(user_id)), None)


def faults(ids: "pa.ChunkedArray") -> dict[Rule, list[tuple[int, str]]]:
    """Return, for each broken rule, the rows that break it and their ids; nulls are passed over."""
    broken: dict[Rule, list[tuple[int, str]]] = {}
    rows = suspects(ids)
    for row, text in zip(rows.tolist(), ids.take(rows).to_pylist(), strict=True):
        for rule in RULES:
            if rule.is_broken_by(text):
                broken.setdefault(rule, []).append((row, text))
    return broken


def lookalikes(ids: "pa.ChunkedArray") -> list[tuple[int, str]]:
    """Return the rows whose ids differ from another's only in spaces, invisible characters or form."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = suspects(ids)
    texts = ids.take(rows).to_pylist()
    looks = {text: _look_of(text) for text in texts}
    changed = {look for text, look in looks.items() if look != text}
    if not changed:
        return []
    twins = pc.is_in(ids, value_set=pa.array(sorted(changed), pa.string()))
    at = np.union1d(rows, np.flatnonzero(twins.to_numpy()))
    written = list(zip(at.tolist(), ids.take(at).to_pylist(), strict=True))
    spellings: dict[str, set[str]] = {}
    for _, text in written:
        spellings.setdefault(looks.get(text, text), set()).add(text)
    return [(row, text) for row, text in written if len(spellings[looks.get(text, text)]) > 1]


def is_seen_whole(text: str) -> bool:
    """Return whether a text shows all that is in it: nothing is unprintable, invisible or decomposed."""
    return (
        text.isprintable()
        and unicodedata.is_normalized("NFC", text)
        and not _INVISIBLE.search(text)
    )


def suspects(ids: "pa.ChunkedArray") -> "Rows":
    """Return the rows whose ids must be checked against every rule: usually few, and all that break one.

    A million ids take some hundredths of a second, since only bytes and distinct characters are looked at.
    """
    import numpy as np

    begin, rows = 0, [np.empty(0, np.int64)]
    for chunk in ids.chunks:
        rows.append(begin + _suspects_of(chunk))
        begin += len(chunk)
    return np.concatenate(rows)


def _suspects_of(chunk: "pa.StringArray") -> "Rows":
    import numpy as np
    import pyarrow.compute as pc

    chunk = chunk.fill_null("")
    lengths = pc.binary_length(chunk).to_numpy()
    is_word = pc.is_in(pc.ascii_lower(chunk), value_set=_words().cast(chunk.type))
    is_suspect = is_word.to_numpy(zero_copy_only=False) | (lengths > LONGEST)
    content = _bytes_of(chunk)
    data = np.frombuffer(content, np.uint8)
    if data.size and (data.min() <= _SPACE or data.max() > _LAST_ASCII):
        points = np.frombuffer(content.decode().encode("utf-32-le"), np.uint32)
        ends = np.cumsum(pc.utf8_length(chunk).to_numpy())
        odd = np.flatnonzero(_is_odd(points, ends))
        is_suspect[np.searchsorted(ends, odd, side="right")] = True
    return np.flatnonzero(is_suspect)


def _bytes_of(chunk: "pa.StringArray") -> bytes:
    """Return the bytes of all texts, one after the other."""
    import numpy as np

    _, offsets, content = chunk.buffers()
    if not len(chunk) or content is None:
        return b""
    width = np.int64 if str(chunk.type) == "large_string" else np.int32
    bounds = np.frombuffer(offsets, width)[chunk.offset : chunk.offset + len(chunk) + 1]
    return memoryview(content)[bounds[0] : bounds[-1]].tobytes()


def _is_odd(points: "Points", ends: "Rows") -> "Bools":
    """Return, for each character of the joined texts, whether its text must be checked.

    An ordinary space counts at the beginning or end of a text, or after another one.
    """
    import numpy as np

    is_distinct = np.zeros(sys.maxunicode + 1, bool)
    is_distinct[points] = True
    is_unsafe = np.zeros_like(is_distinct)
    is_unsafe[[p for p in np.flatnonzero(is_distinct).tolist() if not _is_safe(p)]] = True
    odd: Bools = is_unsafe[points]
    if is_distinct[_SPACE]:
        is_space = points == _SPACE
        borders = ends[(ends > 0) & (ends < len(points))]
        is_edge = np.zeros(len(points), bool)
        is_edge[[0, -1]] = is_edge[borders] = is_edge[borders - 1] = True
        is_second = np.append(False, is_space[:-1] & is_space[1:])
        odd |= is_space & (is_edge | is_second)
    return odd


def _is_safe(point: int) -> bool:
    """Return whether a character breaks no rule, wherever it is."""
    character = chr(point)
    return (
        not _CONTROL.match(character)
        and not _INVISIBLE.match(character)
        # A mark may combine with the character before it.
        and not unicodedata.category(character).startswith("M")
        and point not in _JAMO
        and unicodedata.is_normalized("NFC", character)
    )


def _look_of(text: str) -> str:
    """Return a text as a person sees it."""
    spaced = re.sub(f"[ {_SPACES}]+", " ", text)
    seen = re.sub(f"[{_UNSEEN}]", "", _CONTROL.sub("", spaced))
    return unicodedata.normalize("NFC", seen.strip(" "))


@functools.cache
def _words() -> "pa.Array":
    import pyarrow as pa

    return pa.array(sorted(WORDS), pa.string())
