"""Every sentence of docs/operations.md about behaviour has a test that proves it: operations.toml says which.

A sentence that is new or was changed is found here until it stands in the table, with a test. `advice` is what an
operator is told to do, or a figure that was measured: there is nothing to prove. `unproven` is what no test of ours
shows yet.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
TABLE = Path(__file__).with_name("operations.toml")
ADVICE, UNPROVEN = "advice", "unproven"
MOST_UNPROVEN = 0
"""Lower it with each sentence that gets its test; never raise it."""
IN_OTHER_TESTS = {"Settings", "When something fails"}
"""Sections whose tables are compared with the code, or name their tests, by other tests."""

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LABEL = re.compile(r"^\*\*[^*]+\.\*\*\s*")
_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z`*\"(\[0-9])")


def sentences() -> Iterator[tuple[str, str]]:
    """Each sentence and each row of a table of the page, under its heading."""
    heading = ""
    text = _CODE.sub("\n", _COMMENT.sub("", PAGE.read_text()))
    for block in re.split(r"\n(?=#|\||- |\d+\. )|\n\s*\n", text):
        line = " ".join(block.split())
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            if not set(line) <= set("|- "):
                yield heading, " | ".join(cell.strip() for cell in line.strip("|").split(" | "))
        elif line:
            for sentence in _END.split(re.sub(r"^(?:- |\d+\. )", "", line)):
                if said := _LABEL.sub("", sentence).strip():
                    yield heading, said


@cache
def page() -> dict[str, set[str]]:
    """What the page says, by its headings."""
    found: dict[str, set[str]] = {}
    for heading, sentence in sentences():
        if heading not in IN_OTHER_TESTS:
            found.setdefault(heading, set()).add(sentence)
    return found


@cache
def table() -> dict[str, dict[str, list[str] | str]]:
    """Heading to sentence to what proves it."""
    return tomllib.loads(TABLE.read_text())


@pytest.mark.parametrize("heading", sorted(page()))
def test_the_table_holds_what_the_page_says_and_nothing_else(heading: str) -> None:
    held = table().get(heading, {}).keys()
    assert sorted(page()[heading] - held) == [], "say in operations.toml which test proves it"
    assert sorted(held - page()[heading]) == [], "the page does not say that any more"


def test_the_table_has_no_section_beside_the_page() -> None:
    assert table().keys() == page().keys()


def test_every_proof_is_a_test_that_exists() -> None:
    tests = {test for said in table().values() for proof in said.values() for test in _tests(proof)}
    assert len(tests) > 100
    for test in sorted(tests):
        path, _, name = test.partition("::")
        assert re.search(rf"^\s*(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


def test_no_sentence_goes_without_a_test() -> None:
    unproven = [sentence for said in table().values() for sentence, proof in said.items() if proof == UNPROVEN]
    assert len(unproven) <= MOST_UNPROVEN, unproven


def _tests(proof: list[str] | str) -> list[str]:
    if isinstance(proof, str):
        assert proof in {ADVICE, UNPROVEN}
        return []
    assert proof
    return proof
