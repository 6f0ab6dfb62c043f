"""Writing Markdown: tables, escaped values, and a page of its own in HTML."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}img{max-width:100%}"
    "td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}code{font-size:.85em}"
    "pre{overflow-x:auto;background:#f6f6f6;padding:.6rem}"
)

_MARKUP = re.compile(r"[\\`*\[\]<>|]")


def plain(value: Any) -> str:
    """Return a value from the data as text on one line, escaped so that it is never table, link or markup."""
    return _MARKUP.sub(lambda sign: f"\\{sign[0]}", " ".join(str(value).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a table; cells are written as they are, so values from the data need `plain`."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def to_html(markdown: str, title: str) -> str:
    """Return Markdown as a complete HTML page; HTML in the text stays text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
