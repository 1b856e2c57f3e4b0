"""A tenant's logo: a small PNG or JPEG, checked before anything decodes it.

SVG is not taken: it is a language with links and references of its own, and this one comes from tenants.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

MAX_BYTES = 128 * 1024  # keeps a page with a logo within the time of a page
MAX_BASE64 = -(-MAX_BYTES // 3) * 4
MAX_PIXELS = 4_000_000  # a few hundred bytes can otherwise unpack into gigabytes

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_JPEG_HEAD = b"\xff\xd8\xff"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # C4, C8, CC are tables, not frames


@dataclass(frozen=True, slots=True)
class Logo:
    """The bytes of a PNG or JPEG picture of at most 128 KiB and 4 million pixels. Raises ValueError for others.

    The head alone is checked; a picture that turns out to be broken further in is left out of the PDF.
    """

    content: bytes

    def __post_init__(self) -> None:
        if len(self.content) > MAX_BYTES:
            raise ValueError(f"a logo has at most {MAX_BYTES} bytes, this one has {len(self.content)}")
        width, height = _size(self.content)
        if not 0 < width * height <= MAX_PIXELS:
            raise ValueError(f"a logo has 1 to {MAX_PIXELS} pixels, this one has {width} x {height}")

    @classmethod
    def of_base64(cls, text: str) -> Logo:
        """The picture whose bytes are given in base64. Raises ValueError."""
        try:
            content = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError("a logo is given in base64") from error
        return cls(content)

    @property
    def format(self) -> Literal["png", "jpg"]:
        return "png" if self.content.startswith(_PNG_HEAD) else "jpg"


def _size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels as the file declares them. Raises ValueError unless it is a PNG or JPEG."""
    if content.startswith(_PNG_HEAD) and content[12:16] == b"IHDR" and len(content) >= 24:
        return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    if content.startswith(_JPEG_HEAD):
        at = 2
        while at + 9 <= len(content) and content[at] == 0xFF:
            if content[at + 1] in _JPEG_FRAMES:
                return int.from_bytes(content[at + 7 : at + 9]), int.from_bytes(content[at + 5 : at + 7])
            at += 2 + int.from_bytes(content[at + 2 : at + 4])
    raise ValueError("a logo is a PNG or JPEG picture")
