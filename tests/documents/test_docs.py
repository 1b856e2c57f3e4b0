"""The documents say what is so: settings, links, commands, paths, error codes and duties are compared with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from farthing import cli
from farthing.app import read_document
from farthing.core import errors
from farthing.jobs.duties.schedule import duties
from farthing.settings import OF_CLIENTS, PREFIX, Settings
from farthing.storage.postgres import Database
from farthing.wiring import wire

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=str)
EVERY_DOCUMENT = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text()


def shell_lines(text: str) -> Iterator[str]:
    """What a document tells its reader to type: lines after a prompt with their continuations, and code in prose."""
    for kind, block in _FENCE.findall(text):
        if kind == "console":
            yield from re.findall(r"^\$ (.*(?:\\\n.*)*)", block, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


def test_the_table_of_settings_names_every_setting_and_no_other() -> None:
    table = re.findall(rf"^\| `({PREFIX}\w+)` \|", read("docs/operations.md"), re.MULTILINE)
    assert sorted(table) == sorted(f"{PREFIX}{name.upper()}" for name in Settings.__struct_fields__)


def test_the_table_of_settings_tells_the_defaults() -> None:
    told = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| (.+?) \|", read("docs/operations.md"), re.MULTILINE))
    for name in Settings.__struct_fields__:
        default = getattr(Settings(), name)
        shown = "none" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        assert told[name.upper()] == shown, name


@EVERY_DOCUMENT
def test_a_variable_that_is_named_is_a_setting(document: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}(?!TEST_)([A-Z_]+)\b", document.read_text()))  # TEST_ is for our own tests
    of_clients = {name.removeprefix(PREFIX) for name in OF_CLIENTS}
    assert {name.lower() for name in named - of_clients} <= set(Settings.__struct_fields__)


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@EVERY_DOCUMENT
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name) if name else document
        assert file.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, target


@EVERY_DOCUMENT
def test_every_command_exists(document: Path) -> None:
    for line in shell_lines(document.read_text()):
        for command, rest in re.findall(r"(?:^|[\s/])farthing ([a-z]+)(?: ([a-z][a-z-]*))?", line):
            assert command in cli.app, line
            if command in {"keys", "jobs", "users", "secret"}:
                assert not rest or rest in cli.app[command], line


@cache
def paths() -> list[list[str]]:
    return [path.removeprefix("/v1/").split("/") for path in read_document()["paths"]]


def is_served(path: str) -> bool:
    """Whether a route has this shape; a segment in braces stands for anything."""
    segments = path.strip("/").split("/")
    return any(
        len(known) == len(segments)
        and all(ours.startswith("{") or ours == theirs for ours, theirs in zip(known, segments, strict=True))
        for known in paths()
    )


@EVERY_DOCUMENT
def test_every_path_of_an_example_is_served(document: Path) -> None:
    for path in re.findall(r"\$\{?URL\}?(/[\w./{}%-]+)", document.read_text()):
        assert is_served(path), path
    for path in re.findall(r"(?:GET|POST|PUT|DELETE) /v1(/[\w./{}-]+)", document.read_text()):
        assert is_served(path), path


def test_the_guide_names_every_error_code_with_its_status() -> None:
    told = set(re.findall(r"^\| `(\w+)` \| (\d+) \|", read("docs/api-guide.md"), re.MULTILINE))
    kinds = [errors.FarthingError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds:
        if kind is errors.MethodNotAllowed:  # told with the code it shares
            continue
        assert (kind.code, str(kind.status)) in told, kind.__name__


def test_the_duties_are_those_of_this_release() -> None:
    database = Database("postgresql://nowhere/nothing", wire())
    known = [f"{duty.name:32} {duty.cron}" for duty in duties(database, Settings(secret_key="k" * 32))]
    assert "$ farthing jobs list\n" + "\n".join(known) + "\n" in read("docs/operations.md")


def test_every_duty_and_every_command_has_a_row() -> None:
    page = read("docs/operations.md")
    told = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    database = Database("postgresql://nowhere/nothing", wire())
    assert {duty.name for duty in duties(database, Settings(secret_key="k" * 32))} <= told
    rows = "".join(re.findall(r"^\| `farthing .*?\|", page, re.MULTILINE))
    assert {name for name in cli.app if not name.startswith("-")} <= set(re.findall(r"`farthing ([\w-]+)", rows))


def test_the_index_of_decisions_lists_every_one_in_its_order() -> None:
    pages = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|$", read("docs/decisions/README.md"), re.MULTILINE)
    assert [name for _, _, name in rows] == pages
    for number, title, name in rows:
        text = read(f"docs/decisions/{name}")
        assert name.startswith(f"{int(number):04d}-")
        assert text.startswith(f"# {number}. {title}\n")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Decision", "What follows", "Rejected"], name


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_module_that_is_named_exists(document: str) -> None:
    text = _FENCE.sub("", read(document))
    for path in re.findall(r"`((?:farthing|tests)/[\w/.]*)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(farthing(?:\.\w+)+)`", text):
        steps = name.split(".")
        places = [ROOT.joinpath(*steps[:length]) for length in range(len(steps), len(steps) - 2, -1)]
        assert any(place.is_dir() or place.with_suffix(".py").is_file() for place in places), name


@EVERY_DOCUMENT
def test_every_test_that_is_named_exists(document: Path) -> None:
    for path, name in re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", document.read_text()):
        assert (ROOT / path).is_file(), path
        if name:
            assert re.search(rf"^\s*(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), (
                f"{path}::{name}"
            )


def test_every_failure_that_is_described_names_the_test_that_proves_it() -> None:
    _, _, section = read("docs/operations.md").partition("\n## When something fails\n")
    rows = re.findall(r"^\| (?!what fails|---)(.+) \|$", section.partition("\n## ")[0], re.MULTILINE)
    assert rows
    for row in rows:
        assert re.search(r"`tests/[\w/]+\.py::\w+`$", row), row
