"""Rules are cited by an anchor that exists: what code, tests and documents cite leads to a heading of docs/rules."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "rules"
PAGES = sorted(RULES.glob("*.md"))
SOURCES = sorted([*(ROOT / "farthing").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_MENTION = "Rule" + ":"  # in two parts, so that this file does not cite itself
_CITATION = re.compile(rf'^\s*(?:# |""")?{_MENTION} docs/rules/(?P<page>[a-z-]+\.md)#(?P<anchor>[\w-]+)(?:""")?$')
_IN_PROSE = re.compile(rf"`{_MENTION} docs/rules/(?P<page>[a-z-]+\.md)#(?P<anchor>[\w-]+)`")
_ANYWHERE = re.compile(r"docs/rules/(?P<page>[a-z-]+\.md)#(?P<anchor>[\w-]+)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """The anchors of a page, made from its headings as GitHub makes them."""
    return _anchors(page, r"^#+ (.+)$")


def sections_of(page: Path) -> frozenset[str]:
    """The anchors of the sections of a page, without that of its title."""
    return _anchors(page, r"^##+ (.+)$")


def _anchors(page: Path, pattern: str) -> frozenset[str]:
    headings: list[str] = re.findall(pattern, _FENCE.sub("", page.read_text()), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def find_fault(page: str, anchor: str) -> str | None:
    """Why a citation leads nowhere; None when it leads to a rule."""
    file = RULES / page
    if not file.is_file():
        return f"docs/rules/{page} does not exist"
    return None if anchor in anchors_of(file) else f"docs/rules/{page} has no heading #{anchor}"


def find_faults(source: Path, citation: re.Pattern[str], *, whole_lines: bool) -> list[str]:
    """What is wrong with the citations of one file, by line."""
    found: list[str] = []
    for number, line in enumerate(source.read_text().splitlines(), 1):
        mentions = line.count(_MENTION)
        if not mentions:
            continue
        cited = list(citation.finditer(line))
        where = f"{source.relative_to(ROOT)}:{number}"
        if mentions != len(cited):
            form = "a line of its own: " if whole_lines else ""
            found.append(f"{where}: {line.strip()!r} must be {form}{_MENTION} docs/rules/<page>.md#<anchor>")
        reasons = (find_fault(match["page"], match["anchor"]) for match in cited)
        found += [f"{where}: {reason}" for reason in reasons if reason is not None]
    return found


def test_every_citation_in_code_and_tests_leads_to_a_rule() -> None:
    assert [fault for source in SOURCES for fault in find_faults(source, _CITATION, whole_lines=True)] == []


_OF_NO_MODULE = {
    "invoices-and-payments.md#metadata-decide-nothing",  # what no module does
    "marketplaces.md#worked",  # an example of the sections before it
}


def test_every_rule_is_cited_by_the_module_that_keeps_it() -> None:
    """So whoever asks where a rule is kept searches the code for the anchor, and finds it."""
    code = [source.read_text() for source in SOURCES if source.is_relative_to(ROOT / "farthing")]
    cited = {f"{match['page']}#{match['anchor']}" for text in code for match in _ANYWHERE.finditer(text)}
    rules = {
        f"{page.name}#{anchor}"
        for page in PAGES
        if page.name not in {"README.md", "worked-examples.md"}
        for anchor in sections_of(page)
    }
    assert sorted(rules - cited) == sorted(_OF_NO_MODULE)


def test_every_citation_in_a_document_leads_to_a_rule() -> None:
    assert [fault for document in DOCUMENTS for fault in find_faults(document, _IN_PROSE, whole_lines=False)] == []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('{} pricing, "slab tiers"', id="a name instead of a page"),
        pytest.param("Unrounded. {} docs/rules/pricing.md#slab-tiers", id="behind other words"),
        pytest.param("{} docs/rules/pricing.md", id="a page without an anchor"),
        pytest.param("{} docs/rules/pricing.md#no-such-rule", id="an anchor that is not there"),
        pytest.param("{} docs/rules/no-such-page.md#slab-tiers", id="a page that is not there"),
        pytest.param("{} docs/rules/pricing.md#slab-tiers.", id="more behind the anchor"),
    ],
)
def test_a_citation_of_any_other_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr("tests.documents.test_rules.ROOT", tmp_path)
    source = tmp_path / "module.py"
    source.write_text(f'"""A module.\n\n{line.format(_MENTION)}\n"""\n')
    assert len(find_faults(source, _CITATION, whole_lines=True)) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_what_it_covers_and_which_package_implements_it(page: Path) -> None:
    title, introduction = page.read_text().split("\n\n")[:2]
    assert title.startswith("# ")
    assert introduction[0].isupper()
    if page.name != "README.md":
        packages = re.findall(r"`(farthing(?:\.\w+)+)`", page.read_text().partition("\n## ")[0])
        assert packages, "names no package"
        for package in packages:
            path = ROOT / package.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), package


def test_a_page_has_no_two_headings_of_one_name() -> None:
    for page in PAGES:
        headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
        assert len(headings) == len(set(headings)), page.name


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"\]\(([a-z-]+\.md)\)", (RULES / "README.md").read_text())
    assert sorted(listed) == [page.name for page in PAGES if page.name != "README.md"]
