"""The document is made once for the same code, and again for other code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farthing.api import kept_document as kept
from farthing.api.kept_document import is_to_be_made, kept_document


class Maker:
    """Makes a document, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, Any]:
        self.times += 1
        return {"openapi": "3.1.0", "made": self.times}


def test_a_document_is_made_once(tmp_path: Path) -> None:
    make = Maker()
    answers = [kept_document(make, tmp_path / "not there yet") for _ in range(2)]
    assert answers == [b'{"openapi":"3.1.0","made":1}'] * 2


def test_other_code_has_another_document_and_the_former_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, code, folder = Maker(), tmp_path / "code", tmp_path / "kept"
    code.mkdir()
    (code / "routes.py").write_text("first")
    monkeypatch.setattr(kept, "_PACKAGE", code)
    kept_document(make, folder)
    (code / "routes.py").write_text("second")
    assert kept_document(make, folder) == b'{"openapi":"3.1.0","made":2}'
    (code / "reference.toml").write_text("")
    assert kept_document(make, folder) == b'{"openapi":"3.1.0","made":3}'
    assert len(list(folder.iterdir())) == 1


def test_it_is_made_beforehand_where_it_is_not_kept_and_can_be(tmp_path: Path) -> None:
    folder, file = tmp_path / "kept", tmp_path / "file"
    assert is_to_be_made(folder)
    kept_document(Maker(), folder)
    assert not is_to_be_made(folder)
    file.write_text("no folder")
    assert not is_to_be_made(file)
    assert not is_to_be_made(file / "below")


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    make, file = Maker(), tmp_path / "file"
    file.write_text("no folder")
    assert kept_document(make, file) == b'{"openapi":"3.1.0","made":1}'
    assert kept_document(make, file) == b'{"openapi":"3.1.0","made":2}'
