"""The shape of the code: the lists of packages say what exists, and nothing is wired behind anybody's back."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import farthing

ROOT = Path(__file__).parent.parent
CODE = ROOT / "farthing"

WITHOUT_A_LAYER = {"__main__", "api", "clickhouse_address", "logs", "mail_server", "secret_file", "settings"}
"""What is imported from every layer, and the module that only starts the command line."""


@cache
def parsed_modules() -> dict[Path, ast.Module]:
    """Every module of the code, parsed when it is first asked for: workers without these tests need not."""
    paths = sorted(path for path in CODE.rglob("*.py") if "migrations/versions" not in str(path))
    return {path: ast.parse(path.read_text()) for path in paths}


@pytest.fixture(scope="module", autouse=True)
def forget_parsed_modules() -> Iterator[None]:
    """Millions of nodes, which every garbage collection of later tests would walk."""
    yield
    parsed_modules.cache_clear()


def parsed_with(words: str) -> Iterator[tuple[Path, ast.Module]]:
    """The modules whose text has something that the regular expression `words` finds; the others need not be walked."""
    return ((path, tree) for path, tree in parsed_modules().items() if re.search(words, path.read_text()))


def name_of(path: Path) -> str:
    return str(path.relative_to(CODE))


def top_level() -> set[str]:
    """The packages and modules directly in `farthing`."""
    packages = {path.parent.name for path in CODE.glob("*/__init__.py")}
    return packages | {path.stem for path in CODE.glob("*.py")} - {"__init__"}


def layers() -> list[str]:
    """What the linter orders, highest first; those beside one another in one layer stand on one line."""
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    named = linter["importlinter:contract:layers"]["layers"]
    return [name.removeprefix("farthing.") for name in named.replace(":", " ").split()]


def imports_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_linter_knows_every_layer_that_exists_and_no_other() -> None:
    assert sorted(layers()) == sorted(top_level() - WITHOUT_A_LAYER)


def test_the_package_says_what_exists() -> None:
    named = re.findall(r"`([a-z_]+)`", farthing.__doc__ or "")
    assert sorted(named) == sorted(top_level() - {"__main__"})


def test_its_reading_order_is_that_of_the_linter() -> None:
    order, _, _ = (farthing.__doc__ or "").partition("Each says")
    read = re.findall(r"`([a-z_]+)`", order)
    assert read == [name for name in reversed(layers()) if name in read]


def test_the_conventions_of_http_stay_with_endpoints() -> None:
    """`farthing.api` is imported by routes, schemas, `web`, and those above that put it together and run it."""
    elsewhere = [
        name_of(path)
        for path, tree in parsed_with(r"farthing\.api")
        if any(name.startswith("farthing.api") for name in imports_of(tree))
        if path.relative_to(CODE).parts[0] not in {"api", "web", "app.py", "health.py", "serving"}
        if not any(part.endswith(("routes", "schemas")) for part in path.relative_to(CODE).with_suffix("").parts)
    ]
    assert elsewhere == []


def test_ports_are_filled_in_one_place() -> None:
    filled = {
        name_of(path)
        for path, tree in parsed_with(r"Ports\b")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Ports")
    }
    assert filled == {"wiring.py"}


def test_the_application_s_state_is_read_in_one_place() -> None:
    """Services are asked for by type (`Services.part`), not by name in an untyped state."""
    readers = [
        name_of(path)
        for path, tree in parsed_with(r"\b(state|State)\b")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "state" and ast.unparse(node).endswith("app.state"))
        or (isinstance(node, ast.alias) and node.name == "State")
    ]
    assert sorted(set(readers)) == ["api/services.py", "app.py"]


def test_what_a_package_names_in_its_docstring_is_there() -> None:
    """A name in lower case is a module, a package or what one defines, seen from the package or from one around it."""
    missing = [
        f"{name_of(path)}: {name}"
        for path, tree in parsed_modules().items()
        if path.name == "__init__.py"
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)`", ast.get_docstring(tree) or "")
        if name not in _NO_MODULES and not is_there(name, path.parent)
    ]
    assert missing == []


def test_what_the_page_of_the_architecture_names_is_there() -> None:
    """Of names with dots those that begin with a package of the code."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = [name for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", text) if name.split(".")[0] in top_level()]
    assert len(names) > 50
    assert [name for name in names if not is_there(name, CODE)] == []


def is_there(name: str, package: Path) -> bool:
    """Whether `name`, with dots, is a module, a package, a folder, or a name defined in one."""
    *around, last = name.removeprefix("farthing.").split(".")
    for start in [package, *(above for above in package.parents if above.is_relative_to(CODE))]:
        place = start.joinpath(*around)
        if (place / last).is_dir() or (place / f"{last}.py").is_file():
            return True
        files = [file for file in (place.with_suffix(".py"), place / "__init__.py") if around and file.is_file()]
        if any(
            re.search(rf"^(async def|def|class) {last}\b|^{last}\b.*=", file.read_text(), re.MULTILINE)
            for file in files
        ):
            return True
    return False


_NO_MODULES = {
    *("billed_from", "external_id", "late_usage_policy", "parent_price_id"),  # columns, and fields of settings
    *("events_withdrawn", "uq_invoices_period", "usage_notices"),  # tables and indexes
    *("credit_sink", "digits", "float", "meter.aggregation.type", "ok", "post", "routes.py"),
}


def test_importing_a_module_changes_no_other() -> None:
    """No module appends to another's list, or sets an entry of another's table, when it is imported."""
    faults = []
    for path, tree in parsed_modules().items():
        own = {target.id for node in tree.body for target in _targets(node) if isinstance(target, ast.Name)}
        for node in tree.body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                faults.append(f"{name_of(path)}:{node.lineno} {ast.unparse(node)[:60]}")
            faults += [
                f"{name_of(path)}:{node.lineno} {ast.unparse(node)[:60]}"
                for target in _targets(node)
                if isinstance(target, (ast.Subscript, ast.Attribute)) and _root(target) not in own
            ]
    assert [fault for fault in faults if not fault.startswith(_MAY_RUN)] == []


_MAY_RUN = ("__main__.py", "storage/migrations/", "calendar/zones.py")
"""Scripts; and zones, which come from the package of their data and not from the machine."""


def test_no_module_holds_an_empty_list_for_others_to_fill() -> None:
    empty = [
        f"{name_of(path)}:{node.lineno} {ast.unparse(node)[:60]}"
        for path, tree in parsed_modules().items()
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _is_empty(node.value)
    ]
    assert [found for found in empty if "_moving" not in found] == []  # tasks in the background, held until they end


def test_no_import_is_for_its_side_effect() -> None:
    assert [name_of(path) for path in parsed_modules() if "noqa: F401" in path.read_text()] == []


@pytest.mark.parametrize("package", ["billing.calculation", "rating", "calendar", "metering"])
def test_the_pure_core_loads_no_sqlalchemy(package: str) -> None:
    """Not even through what it imports: a fresh interpreter has seen none of it afterwards."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in parsed_modules()
        if path.is_relative_to(CODE.joinpath(*package.split(".")))
    ]
    loads = f"import sys, {', '.join(modules)}; print({{'sqlalchemy', 'psycopg', 'litestar'}} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", loads], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "set()", answer.stderr


def test_the_service_starts_without_the_libraries_that_few_requests_need() -> None:
    seldom = {
        *("aiobotocore", "aiosmtplib", "alembic", "lxml", "mako", "mcp"),
        *("pikepdf", "pyarrow", "pydantic", "requests", "stripe", "typst"),
    }
    loads = f"import sys, farthing.serving.server, farthing.wiring; print({seldom} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", loads], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "set()", answer.stderr


def test_a_class_name_means_one_thing() -> None:
    """No two classes have the same name, whether or not it begins with an underscore."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in parsed_with(r"\bclass\b"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(f"{name_of(path)}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_variable_says_what_it_holds() -> None:
    nameless = [
        f"{name_of(path)}:{node.lineno}"
        for path, tree in parsed_with(r"\bone\b")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "one") or (isinstance(node, ast.arg) and node.arg == "one")
    ]
    assert nameless == []


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, (ast.AnnAssign, ast.AugAssign)) else []


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_empty(value: ast.expr | None) -> bool:
    if isinstance(value, (ast.List, ast.Set)):
        return not value.elts
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.Call) and ast.unparse(value) in {"list()", "dict()", "set()", "WeakSet()"}
