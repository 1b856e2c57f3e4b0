"""A newcomer who follows the documents word for word: every example is run, and prints what the page says it prints.

The commands of a page run one after another in one shell, against a server with a company of its own. `sk_...` is what
the newcomer fills in; `...` in an answer stands for what differs from time to time. A block that cannot be run here
says why, in a comment before it: `<!-- not run: the reason -->`.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.account import Account

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8080"
MARK = "---8<---"
PAGES = (
    "README.md",
    "docs/api-guide.md",
    "docs/billing-guide.md",
    "docs/checkout.md",
    "docs/clients.md",
    "docs/imports-and-exports.md",
)
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<kind>console|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Example:
    """A command and what the page says it prints; `line` is where it stands."""

    line: int
    command: str
    printed: str


def examples(text: str) -> Iterator[Example]:
    """What a page tells its reader to type, in its order."""
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("code")) + 1
        if block["reason"]:
            continue
        if block["kind"] == "python":
            printed = re.findall(r"print\(.*\)  # (.+)$", block["code"], re.MULTILINE)
            yield Example(line, f"python3 - <<'END'\n{block['code']}END", "\n".join(printed))
        else:
            yield from _commands(block["code"], line)


def _commands(code: str, line: int) -> Iterator[Example]:
    command: list[str] = []
    printed: list[str] = []
    begun = line
    for number, text in enumerate([*code.splitlines(), "$ "]):
        if text.startswith("$ ") and (not command or _is_whole(command)):
            if command:
                yield Example(begun, "\n".join(command), "\n".join(printed).strip())
            command, printed, begun = [text.removeprefix("$ ")], [], line + number
        elif _is_whole(command):
            printed.append(text)
        else:
            command.append(text)


def _is_whole(command: list[str]) -> bool:
    text = "\n".join(command)
    try:
        shlex.split(text)
    except ValueError:
        return False
    return not text.endswith("\\")


def is_as_printed(printed: str, output: str) -> bool:
    """Whether an output is what the page prints; of an object it prints parts of, every part has to be there."""
    said, expected = (re.sub(r"\n\s*", "", text.strip()) for text in (output, printed))
    if expected.startswith("{"):
        # the order of the fields of an object says nothing
        if "..." not in expected:
            return bool(json.loads(said) == json.loads(expected))
        return all(part.strip(", ") in said for part in re.split(r'\.\.\.|,(?=")|[{}\[\]]', expected))
    pattern = ".*?".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, said, re.DOTALL) is not None


async def _in_a_shell(script: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize("page", PAGES)
async def test_every_example_prints_what_the_page_says(account: Account, page: str) -> None:
    shown = list(examples((ROOT / page).read_text()))
    assert shown
    steps = [f'export PATH="{Path(sys.executable).parent}:$PATH"']
    for example in shown:
        command = example.command.replace("sk_...", account.key).replace(ADDRESS, account.base_url)
        steps.append(f"{command}\necho; echo '{MARK}'")
    outputs = (await _in_a_shell("\n".join(steps))).split(f"{MARK}\n")
    wrong = [
        f"{page}:{example.line}\n{example.command}\nprinted:  {output.strip()}\nthe page: {example.printed}"
        for example, output in zip(shown, outputs, strict=False)
        if not is_as_printed(example.printed, output.replace(account.base_url, ADDRESS).replace("\r", ""))
    ]
    assert not wrong, "\n\n".join(wrong)


def test_every_page_with_examples_is_run() -> None:
    """No page of commands to the API is forgotten; operators' commands are tried by the tests of each command."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if any("$URL" in example.command for example in examples(path.read_text())):
            assert str(path.relative_to(ROOT)) in PAGES or path.name == "operations.md", path
