from __future__ import annotations

import struct
import zlib

import pytest

from farthing.identity.settings.logo import MAX_BYTES, Logo

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int, rows: bytes | None = None) -> bytes:
    """A grey PNG of that size; `rows` replaces its compressed pixels."""
    pixels = rows if rows is not None else zlib.compress((b"\0" + b"\x80" * width) * height)
    return PNG_HEAD + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            (b"IDAT", pixels),
            (b"IEND", b""),
        )
    )


def jpeg_head(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01"


@pytest.mark.parametrize(
    ("content", "format_"),
    [pytest.param(png(4, 3), "png", id="a PNG"), pytest.param(jpeg_head(640, 480), "jpg", id="a JPEG")],
)
def test_pictures_taken(content: bytes, format_: str) -> None:
    assert Logo(content).format == format_


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "PNG or JPEG", id="nothing"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "PNG or JPEG", id="an SVG"),
        pytest.param(PNG_HEAD, "PNG or JPEG", id="a PNG that ends with its signature"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x00", "PNG or JPEG", id="a JPEG without a frame"),
        pytest.param(b"\xff\xd8\xff" + b"\xff" * 500, "PNG or JPEG", id="a JPEG of nothing but markers"),
        pytest.param(png(40_000, 40_000, b""), "4000000 pixels", id="a few bytes that unpack into gigabytes"),
        pytest.param(jpeg_head(65_535, 65_535), "4000000 pixels", id="a JPEG that does the same"),
        pytest.param(png(0, 5), "1 to", id="a PNG without width"),
        pytest.param(png(1, 1) + b"\0" * MAX_BYTES, "131072 bytes", id="more bytes than a logo needs"),
    ],
)
def test_pictures_refused(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Logo(content)
