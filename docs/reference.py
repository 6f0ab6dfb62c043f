"""The reference pages, made from the code: commands, settings, API, views, keys of the contract, metrics.

The site takes them as they are made (`make docs`), so they are committed nowhere; only the keys stand in
docs/contract.md as well, between marks: `python -m docs.reference` writes them there. What a page says of a
thing is what the thing says of itself: a command its help, a setting its docstring, a key its description.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from churn.cli import main
from churn.contract.schema import json_schema
from churn.database.retention import RETENTION_VIEWS
from churn.markdown import table
from churn.settings import CampaignSettings, GateSettings, Settings
from docs.reference_http import MADE, ROOT, Lines, api, cell, metrics_and_alerts

CONTRACT_PAGE = ROOT / "docs" / "contract.md"


def pages() -> dict[str, str]:
    """Return every page by its name, as Markdown."""
    parts = {
        "commands": commands,
        "settings": settings,
        "api": api,
        "views": views,
        "contract": contract_keys,
        "metrics": metrics_and_alerts,
    }
    return {f"{name}.md": "\n".join(part()) + "\n" for name, part in parts.items()}


def commands() -> Lines:
    """Yield every command of `churn` with its help, in the order of `churn --help`."""
    root = typer.main.get_command(main.app)
    yield from ("# Commands", "", MADE, "", _help(root), "")
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        yield from _command(f"churn {name}", command)


def _command(name: str, command: Any) -> Lines:
    yield from ("", f"## {name}", "", _help(command), "")
    rows = [_parameter(each) for each in command.params if not getattr(each, "hidden", False)]
    if rows:
        yield from table(("argument or option", "default", "what it is"), rows)
    for child, below in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {child}", below)


def _help(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("\f", "")


def _parameter(each: Any) -> tuple[str, str, str]:
    is_option = each.param_type_name == "option"
    names = ", ".join(f"`{opt}`" for opt in (*each.opts, *each.secondary_opts))
    default = each.default() if callable(each.default) else each.default
    shown = "" if default in (None, False, "", ()) or each.required else f"`{cell(default)}`"
    return (
        names if is_option else f"`{each.name.upper()}`",
        "needed" if each.required else shown,
        cell(each.help or ""),
    )


def settings() -> Lines:
    """Yield every environment variable: those of the settings, then those of the compose file alone."""
    yield from ("# Settings", "", MADE, "")
    yield (
        "A setting is a variable of the environment, of `.env` under compose, or of `settings.env` in the"
        " state folder; the environment wins. A wrong value is refused with the variable's name."
    )
    known: set[str] = {"CHURN_CONTRACT"}
    contract = (
        "`CHURN_CONTRACT`",
        "",
        "The path of the contract. By default StreamFlow's own is in force. In `settings.env` the path is"
        " relative to the state folder.",
    )
    for title, kind in (
        ("The system", Settings),
        ("The campaign", CampaignSettings),
        ("The gate", GateSettings),
    ):
        rows = [contract] if kind is Settings else []
        for name, field in kind.model_fields.items():
            if name in ("campaign", "gate"):
                continue
            variable = variable_of(kind, name, field)
            known.add(variable)
            rows.append((f"`{variable}`", _default(field), cell(field.description)))
        yield from ("", f"## {title}", "", *table(("variable", "default", "meaning"), rows))
    rows = [row for row in _of_compose() if row[0].strip("`") not in known]
    yield from ("", "## Of the compose file alone", "")
    yield from table(("variable", "default", "meaning"), rows)


def variable_of(
    kind: type[Settings | CampaignSettings | GateSettings], name: str, field: Any
) -> str:
    """Return the environment variable of a setting."""
    alias = field.validation_alias
    return str(alias or f"{kind.model_config.get('env_prefix', '')}{name}").upper()


def _default(field: FieldInfo) -> str:
    """Return a default as the environment has it; empty where there is none, or it is worked out."""
    value = field.default
    if value in (PydanticUndefined, None, "") or isinstance(value, SecretStr):
        return ""
    return f"`{','.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _of_compose() -> Iterator[tuple[str, str, str]]:
    """Yield the variables of `.env.example`, each with the comment above it or its neighbours."""
    comment: list[str] = []
    is_open = False
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment = [*comment, line[1:]] if is_open else [line[1:]]
            is_open = True
        elif "=" in line:
            name, _, value = line.partition("=")
            yield f"`{name}`", f"`{value}`" if value else "", cell(" ".join(comment))
            is_open = False
        else:
            comment, is_open = [], False


def views() -> Lines:
    """Yield every view of the schema `retention` with its columns."""
    yield from ("# Views", "", MADE, "")
    yield "Who may read them, and how, is told by [views for BI tools](../retention-views.md)."
    for view in RETENTION_VIEWS:
        yield from ("", *view.page())


def contract_keys() -> Lines:
    """Yield every key of a contract's file."""
    yield from ("# Keys of the contract", "", MADE, "")
    yield "What they are for, and a whole file, is told by [the contract](../contract.md)."
    yield ""
    yield from keys_of_contract()


# The entries of the file by the name of their schema, in the order in which they are told.
_ENTRIES = {
    "": "At the top",
    "KeyEntry": "`key`",
    "DialectEntry": "`dialect`",
    "FileEntry": "An entry of `files`",
    "TableEntry": "An entry of `tables`",
    "ColumnEntry": "An entry of `columns`",
    "LabelEntry": "`label`",
    "ValueEntry": "`customer_value`",
    "ViewEntry": "An entry of `views`",
    "ServiceEntry": "An entry of `services`",
    "SegmentEntry": "An entry of `segments`",
    "OddityEntry": "An entry of `oddities`",
}


def keys_of_contract() -> Lines:
    """Yield the keys of a contract's file, entry by entry, as tables.

    Raises:
        ValueError: the schema has an entry of which nothing says where it stands in the file.
    """
    schema = json_schema()
    entries = {"": schema, **schema["$defs"]}
    if unknown := entries.keys() - _ENTRIES.keys():
        raise ValueError(f"docs/reference.py does not say where {min(unknown)} stands in the file")
    for name, title in _ENTRIES.items():
        entry = entries[name]
        rows = [
            (
                f"`{key}`",
                _values(each),
                _key_default(each, key in entry.get("required", ())),
                cell(each.get("description")),
            )
            for key, each in entry["properties"].items()
        ]
        yield from (
            f"**{title}**",
            "",
            *table(("key", "value", "default", "what it says"), rows),
            "",
        )


def _values(schema: Mapping[str, Any]) -> str:
    """Return what may be written for a key, in a few words."""
    if words := schema.get("enum"):
        return ", ".join(f"`{word}`" for word in words)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(_values(each) for each in schema["anyOf"] if each.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_values(schema['items'])}" if "items" in schema else "list"
    if "$ref" in schema:
        return "an entry"
    if schema.get("type") == "object":
        return "entries by name"
    words_of = {"string": "text", "boolean": "true or false", "integer": "whole number"}
    return words_of.get(schema.get("type", ""), schema.get("type", "any"))


def _key_default(schema: Mapping[str, Any], is_needed: bool) -> str:
    if is_needed:
        return "needed"
    value = schema.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return ", ".join(f"`{each}`" if each else "a blank" for each in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def rendered(page: str) -> str:
    """Return docs/contract.md with the keys between its marks made anew.

    Raises:
        ValueError: the marks are missing.
    """
    begin, end = "<!-- keys -->\n", "<!-- /keys -->"
    if begin not in page or end not in page:
        raise ValueError("docs/contract.md does not say where the keys go")
    before, after = page.split(begin)[0], page.split(end)[-1]
    keys = "\n".join(keys_of_contract())
    return f"{before}{begin}{keys}{end}{after}"


if __name__ == "__main__":
    CONTRACT_PAGE.write_text(rendered(CONTRACT_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
