"""Names of files in headers: one header, one name, whatever was typed."""

from __future__ import annotations

import pytest

from farthing.core.encoding.file_names import content_disposition, file_name


@pytest.mark.parametrize(
    ("name", "header"),
    [
        pytest.param("INV-1.pdf", 'attachment; filename="INV-1.pdf"', id="a plain one"),
        pytest.param(
            "Rechnung Ä7.pdf",
            "attachment; filename=\"Rechnung _7.pdf\"; filename*=UTF-8''Rechnung%20%C3%847.pdf",
            id="letters of any script stay",
        ),
        pytest.param('a"; filename="b.exe', 'attachment; filename="a__ filename=_b.exe"', id="no second parameter"),
        pytest.param("a\r\nX-Evil: 1", 'attachment; filename="a__X-Evil_ 1"', id="no second header"),
        pytest.param("../../etc/passwd", 'attachment; filename="_.._etc_passwd"', id="no way out of a folder"),
        pytest.param("..\\..\\a.pdf", 'attachment; filename="_.._a.pdf"', id="nor one of Windows"),
        pytest.param("a%22b.pdf", 'attachment; filename="a_22b.pdf"', id="nothing that is decoded once more"),
        pytest.param("a\u202efdp.exe", 'attachment; filename="a_fdp.exe"', id="nothing that turns the direction"),
        pytest.param("\x00\x1b\u2028", 'attachment; filename="___"', id="nothing unseen"),
        pytest.param("\ud800", 'attachment; filename="_"', id="no half of a letter"),
        pytest.param("..", 'attachment; filename="file"', id="never nothing"),
    ],
)
def test_a_header_names_one_file(name: str, header: str) -> None:
    assert content_disposition("attachment", name) == header
    header.encode("ascii")


def test_the_ending_of_a_long_name_stays() -> None:
    assert file_name("x" * 5000 + ".pdf") == "x" * 196 + ".pdf"
