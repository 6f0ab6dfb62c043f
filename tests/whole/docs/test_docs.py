import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from churn.cli.main import app
from churn.contract.document import read_contract
from churn.contract.export import files_table, with_table
from churn.contract.in_force import CONTRACT
from tests.churn_assets.test_definitions import GRAPH
from tests.kit.environment_variables import known_variables

ROOT = Path(__file__).parents[3]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FIRST_OF_USAGE = "      watch_hours_30d: {"
PLACEHOLDERS = {"USER_ID"}  # stand for a value in a command line


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code(text: str) -> Iterator[str]:
    """Every command line: what is typed in a console block, and what stands in backticks."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith(("$ ", "  ")):
                yield line.removeprefix("$ ").strip().split("  #")[0]
    without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_blocks))


def typed(program: str, text: str) -> Iterator[list[str]]:
    """The words after `program` in every command line that runs it."""
    for line in code(text):
        for part in re.split(r"&&|\|", line):
            words = [w for w in shlex.split(part) if not re.fullmatch(r"[A-Z_]+=\S*", w)]
            if words and words[0].removeprefix(".venv/bin/") == program:
                yield words[1:]


def options(command: str) -> set[str]:
    group = COMMANDS[command]
    every = (group, *getattr(group, "commands", {}).values())
    return {name for each in every for param in each.params for name in param.opts} | {"--help"}


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_churn_command_exists_with_its_options(page: Path) -> None:
    for command, *arguments in filter(None, typed("churn", text_of(page))):
        if command in ("--help", "COMMAND"):
            continue
        assert command in COMMANDS, f"churn {command}"
        if command == "feast":  # the rest is Feast's
            continue
        used = {word.split("=")[0] for word in arguments if word.startswith("-")}
        assert used <= options(command), f"churn {command} {' '.join(arguments)}"


def parse(words: list[str]) -> None:
    """Parse a command line as `churn` would, and run nothing.

    Raises:
        AssertionError: there is no such command.
        UsageError: an argument is missing, or there is no such option.
    """
    command: Any = typer.main.get_command(app)
    name, rest = "churn", list(words)
    while hasattr(command, "commands"):
        assert rest, f"Missing command of {name}"
        name = rest.pop(0)
        assert name in command.commands, f"No such command: {name}"
        command = command.commands[name]
    command.make_context(name, rest)


def in_blocks(text: str) -> Iterator[list[str]]:
    """The arguments of every `churn` command that is typed in a console block."""
    for block in re.findall(r"^```console\n.*?^```", text, re.M | re.S):
        for words in typed("churn", block):
            redirected = next((at for at, word in enumerate(words) if word.startswith(">")), None)
            yield words[:redirected]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_a_block_can_be_parsed(page: Path) -> None:
    for words in in_blocks(text_of(page)):
        if "--help" not in words:
            parse(words)


@pytest.mark.parametrize(
    "words", [["rollbak"], ["new"], ["contract", "check"], ["run", "--drop", "x"]]
)
def test_a_command_line_that_is_none_is_refused(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|Missing"):
        parse(words)


def test_the_options_named_beside_a_command_are_its_own() -> None:
    rows = re.findall(r"^\| `churn (\w+)[^|]*\|(.*)\|$", text_of(ROOT / "README.md"), re.M)
    assert {command for command, _ in rows} >= COMMANDS.keys() - {"status", "down"}
    for command, row in rows:
        used = {word for span in re.findall(r"`(--[^`]+)`", row) for word in span.split()[:1]}
        assert used <= options(command), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_option_in_prose_is_somebodys(page: Path) -> None:
    known = set().union(*(options(command) for command in COMMANDS))
    named = {span.split()[0] for span in re.findall(r"`(--[a-z][^`]*)`", text_of(page))}
    assert named <= known


def test_every_make_target_exists() -> None:
    used = {words[0] for page in PAGES for words in typed("make", text_of(page)) if words}
    assert {"demo", "test", "bench", "check"} <= used
    for target in used - {"ARGS=--exit"}:
        command = ["make", "--dry-run", "--no-print-directory", target]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


def test_every_environment_variable_is_known() -> None:
    # The field's own, and MLflow's.
    known = known_variables() | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "MLFLOW_TRACKING_TOKEN"}
    # Those of the extras.
    known |= {"OPENLINEAGE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    for file in ("docker-compose.yml", ".env.example", "Makefile"):
        known |= set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", text_of(ROOT / file)))
    for page in PAGES:
        named = set(re.findall(r"(?<![\w/])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text_of(page)))
        assert named - PLACEHOLDERS <= known, page.name


def test_the_example_of_a_contract_is_one() -> None:
    text = text_of(ROOT / "docs/contract.md")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    [whole, segments, oddities, grown] = blocks
    gym = read_contract(f"{whole}\n{segments}\n{oddities}", "docs/contract.md")
    assert gym.users.dialect.true_words == ("ja",)
    assert [service.version for service in gym.services] == [1]
    assert [segment.band_names for segment in gym.segments] == [(), ("new", "settled", "old")]
    assert [oddity.column for oddity in gym.oddities] == ["joined"]
    again = read_contract(whole + grown, "grown")
    assert [service.version for service in again.services] == [1, 2]


def test_the_column_that_a_contributor_adds_is_one_entry() -> None:
    text = text_of(ROOT / "CONTRIBUTING.md")
    [shown] = re.findall(r"^```yaml\n      \w+(: .*?)^```", text, re.M | re.S)
    entry = f"      not_there_before{shown}"  # for whoever adds the very column that is shown
    assert CONTRACT.text.count(FIRST_OF_USAGE) == 1
    grown = read_contract(CONTRACT.text.replace(FIRST_OF_USAGE, entry + FIRST_OF_USAGE), "grown")
    name = entry.split(":")[0].strip()
    has_it = [service for service in grown.services if name in service.feature_names]
    assert [service.versioned_name for service in has_it] == ["churn_rich_v2"]


def test_the_table_that_a_contributor_adds_is_what_the_contract_and_the_graph_take() -> None:
    text = text_of(ROOT / "CONTRIBUTING.md").split("**A table**")[1]
    [table, view] = re.search(
        r"^```yaml\ntables:\n(.*?)\nviews:\n(.*?)^```", text, re.M | re.S
    ).groups()  # type: ignore[union-attr]
    # For whoever adds the very table that is shown.
    table, view = (part.replace("devices", "not_there_before") for part in (table, view))
    grown = CONTRACT.text.replace("\n# A view holds", f"\n{table}\n# A view holds")
    grown = grown.replace("\nservices:\n", f"\n{view}\nservices:\n")
    [service] = [
        each for each in read_contract(grown, "grown").services if "smart_tvs" in each.feature_names
    ]
    assert service.versioned_name == "churn_rich_v2"
    # The lines are those of a table that is there, under another name.
    lines = re.findall(r"^\w+: .*devices.* <- .*$", text, re.M)
    likened = [line.replace("devices", "payments_agg_90d") for line in lines]
    assert len(likened) == 3
    assert set(likened) <= set(GRAPH.splitlines())


def test_the_columns_of_a_drop_are_the_contracts() -> None:
    """`churn contract show --files --into README.md` writes them."""
    readme = text_of(ROOT / "README.md")
    assert with_table(readme, files_table(CONTRACT)) == readme


def test_the_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert len(pictures) >= 2
    assert {picture.name for picture in pictures if picture.stat().st_size > 400_000} == set()
