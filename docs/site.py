"""The documentation as a site: `python -m docs.site`, which is what `make docs` does.

The pages are those of the repository. They are copied to a folder of their own, beside the reference pages
that are made from the code, with their links rewritten to where each page lies there; a file that is no
page, such as a module, is named instead of linked. Mermaid drawings become pictures when the site is built,
so that a browser needs nothing but what is here. Zensical then builds it strictly: a link or an anchor that
leads nowhere is an error.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import mermaidx

from docs import reference

ROOT = Path(__file__).parents[1]
CONFIG = "zensical.toml"
PAGES, BUILT = Path(".site/pages"), Path(".site/html")
# Pages that lie beside docs/ in the repository, and what they are called on the site.
_BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
# What a page has between marks is a page of the reference on the site.
_CUT = {
    "keys": "Every key is listed in the [reference](reference/contract.md).",
    "views": "Every view and every column is listed in the [reference](reference/views.md).",
}
_TEXT_AND_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
# Else Mermaid cuts the longest names of assets off.
_WIDE = '%%{init: {"flowchart": {"wrappingWidth": 400}}}%%\n'
_FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)


def place_of(path: str) -> str | None:
    """Return where a file of the repository lies on the site; None where it is no page and no picture."""
    if path in _BESIDE:
        return _BESIDE[path]
    below, is_below = path.removeprefix("docs/"), path.startswith("docs/")
    return below if is_below and PurePosixPath(below).suffix in (".md", ".png", ".svg") else None


def on_the_site(path: str, text: str) -> str:
    """Return a page of the repository as it stands on the site.

    Args:
        path: the page's own, below the repository's root.
        text: its Markdown.
    """
    for name, instead in _CUT.items():
        text = re.sub(
            rf"^<!-- {name} -->$.*?^<!-- /{name} -->$",
            lambda _, to=instead: to,
            text,
            flags=re.M | re.S,
        )
    # A mark right above a table would keep it from being one.
    text = re.sub(r"^<!-- /?\w+ -->$", "", text, flags=re.M)
    return _TEXT_AND_LINK.sub(lambda link: _rewritten(path, link), text)


def _rewritten(path: str, link: re.Match[str]) -> str:
    words, target = link.groups()
    if target.startswith(("http://", "https://", "#")):
        return link[0]
    file, _, anchor = target.partition("#")
    found_at = _normal(PurePosixPath(path).parent / file)
    place = place_of(found_at)
    if place is None:
        return f"`{found_at}`" if words.strip("`") in found_at else f"{words} (`{found_at}`)"
    return f"[{words}]({place}{'#' if anchor else ''}{anchor})"


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def write_pages(folder: Path) -> None:
    """Write every page of the site into an empty folder, the pictures with them."""
    shutil.copytree(ROOT / "docs" / "images", folder / "images")
    for file in (*(ROOT / name for name in _BESIDE), *sorted((ROOT / "docs").glob("*.md"))):
        path = file.relative_to(ROOT).as_posix()
        text = _with_pictures(
            on_the_site(path, file.read_text(encoding="utf-8")), file.stem, folder
        )
        (folder / str(place_of(path))).write_text(text, encoding="utf-8")
    (folder / "reference").mkdir()
    for name, text in reference.pages().items():
        (folder / "reference" / name).write_text(text, encoding="utf-8")


def _with_pictures(text: str, name: str, folder: Path) -> str:
    """Return a page with each Mermaid drawing as a picture, which is written beside the others."""

    def picture(drawing: re.Match[str]) -> str:
        path = f"images/{name}-{drawing.start()}.svg"
        (folder / path).write_text(mermaidx.render(_WIDE + drawing[1]).svg(), encoding="utf-8")
        return f"[![The drawing]({path})]({path})"

    return _FENCE.sub(picture, text)


def build(folder: Path = ROOT) -> Path:
    """Build the site below a folder, and return where its `index.html` is.

    Raises:
        CalledProcessError: a link or an anchor leads nowhere, or a page cannot be read.
    """
    for part in (PAGES, BUILT):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / PAGES).mkdir(parents=True)
    write_pages(folder / PAGES)
    if folder != ROOT:
        shutil.copy2(ROOT / CONFIG, folder / CONFIG)
    run_zensical(folder)
    return folder / BUILT


def run_zensical(folder: Path) -> None:
    """Let Zensical build the pages that lie below a folder.

    Raises:
        CalledProcessError: it warned, or failed; what it printed is in the error.
    """
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


if __name__ == "__main__":
    try:
        print(f"{build() / 'index.html'}")  # noqa: T201
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.stdout}{error.stderr}")
