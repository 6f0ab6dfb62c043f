"""The site builds strictly, its links lead somewhere, and nothing of it comes from another host."""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs import site

# What a browser fetches by itself, by the attribute that names it.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Fetched(HTMLParser):
    """The addresses that a browser fetches for a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if value and FETCHED.get(tag) == name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    site.build(folder)
    return folder


def test_every_page_is_built_and_found(folder: Path) -> None:
    pages = {path.relative_to(folder / site.PAGES) for path in (folder / site.PAGES).rglob("*.md")}
    built = {
        path.relative_to(folder / site.BUILT) for path in (folder / site.BUILT).rglob("*.html")
    }
    assert {path.with_suffix(".html") for path in pages} == built - {Path("404.html")}
    nav = re.findall(r'= "([\w/-]+\.md)"', (folder / site.CONFIG).read_text(encoding="utf-8"))
    assert sorted(nav) == sorted(path.as_posix() for path in pages)
    assert (folder / site.BUILT / "search.json").is_file()


def test_nothing_is_fetched_from_another_host(folder: Path) -> None:
    for page in (folder / site.BUILT).rglob("*.html"):
        fetched = Fetched(page.read_text(encoding="utf-8")).addresses
        assert fetched
        assert [each for each in fetched if re.match(r"(https?:)?//", each)] == [], page.name
        # Zensical's script fetches Mermaid's from the internet where a page has such a drawing.
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")
    styles = [path.read_text(encoding="utf-8") for path in (folder / site.BUILT).rglob("*.css")]
    assert styles
    assert not any(re.search(r"(url\(|@import)['\" ]*https?:", text) for text in styles)


def test_a_drawing_is_a_picture(folder: Path) -> None:
    page = (folder / site.PAGES / "architecture.md").read_text(encoding="utf-8")
    [picture] = re.findall(r"!\[The drawing\]\((.+?)\)", page)
    assert "subscriptions_profile_snapshots" in (folder / site.PAGES / picture).read_text("utf-8")


@pytest.mark.parametrize("broken", ["[a](nowhere.md)", "[a](runbook.md#nowhere)", "[a](#nowhere)"])
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path, broken: str) -> None:
    pages = tmp_path / site.PAGES
    pages.mkdir(parents=True)
    (pages / "index.md").write_text(f"# A page\n\n{broken}\n", encoding="utf-8")
    (pages / "runbook.md").write_text("# Runbook\n", encoding="utf-8")
    (tmp_path / site.CONFIG).write_text(
        f'[project]\nsite_name = "one"\ndocs_dir = "{site.PAGES}"\nsite_dir = "{site.BUILT}"\n'
    )
    with pytest.raises(subprocess.CalledProcessError) as failed:
        site.run_zensical(tmp_path)
    assert "does not exist" in failed.value.stdout + failed.value.stderr


def test_links_are_rewritten_to_where_pages_lie() -> None:
    text = "[a](../README.md#state) [b](why.md) [a module](../churn/files.py) [`x.py`](../churn/x.py) [d](#e)"
    assert site.on_the_site("docs/how-it-works.md", text) == (
        "[a](index.md#state) [b](why.md) a module (`churn/files.py`) `churn/x.py` [d](#e)"
    )
    assert site.on_the_site("README.md", "[a](docs/why.md)") == "[a](why.md)"


def test_what_the_reference_lists_is_not_listed_twice() -> None:
    text = "before\n<!-- keys -->\n| key |\n<!-- /keys -->\nafter\n<!-- contract -->\n| file |\n"
    page = site.on_the_site("docs/contract.md", text)
    assert "| key |" not in page
    assert "(reference/contract.md)" in page
    assert "<!--" not in page
    assert "after\n\n| file |" in page
