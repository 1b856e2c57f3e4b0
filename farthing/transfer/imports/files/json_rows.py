"""Rows of a JSON file: the objects of one array, or one object on each line.

Numbers keep all their digits. A line that is wrong costs its own row; in an array nothing can be read after what is
no JSON, so that the import ends there.
Rule: docs/rules/imports-and-exports.md#json-files
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from farthing.core.encoding.decoding import holds_nul
from farthing.metering.canonical import json_number
from farthing.transfer.imports.files.content import FileContent
from farthing.transfer.imports.files.repeated_keys import RepeatedKey, refuse_repeated_keys
from farthing.transfer.imports.files.rows import LONGEST_ROW_BYTES, SourceRow, UnreadableFile
from farthing.transfer.tasks.problems import RowProblem

_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=json_number)
_SCANNER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
"""Finds where a value ends; its numbers are not converted."""
_BLANKS = " \t\r\n"
_READ_AT_ONCE = 256 * 1024
_LOOKED_AT = 4096
_TOO_LONG = f"the object is longer than {LONGEST_ROW_BYTES} bytes"
_NOT_UTF8 = "is not UTF-8; save the file as UTF-8"


class JsonRows:
    """The objects. Raises UnreadableFile for a file that begins with neither an array nor an object."""

    columns: Sequence[str] | None = None

    def __init__(self, content: FileContent) -> None:
        self._content = content

    def __iter__(self) -> Iterator[SourceRow]:
        beginning = self._content.peek(_LOOKED_AT).lstrip(_BLANKS.encode())
        if not beginning:
            raise UnreadableFile("is empty")
        if beginning.startswith(b"["):
            yield from _ArrayReader(self._content)
        elif beginning.startswith(b"{"):
            yield from self._each_line()
        else:
            raise UnreadableFile("begins with neither [ nor {: it must be an array of objects, or one on each line")

    def _each_line(self) -> Iterator[SourceRow]:
        number = 0
        for line in self._content.lines():
            text = line.content.strip()
            if text:
                number += 1
                yield _row_of(number, line.number, _TOO_LONG if line.is_cut else text)


def _row_of(number: int, line: int, text: bytes | str) -> SourceRow:
    """The row of an object as bytes; a text says why there is none."""
    if isinstance(text, str):
        return SourceRow(number, line, {}, [RowProblem(number, line, "", text)])
    try:
        values = _DECODER.decode(text)
        refuse_repeated_keys(text)
    except UnicodeDecodeError:
        reason = _NOT_UTF8
    except RepeatedKey as error:
        return SourceRow(number, line, {}, [RowProblem(number, line, error.key, str(error))])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        reason = f"is not valid JSON: {error}" if not isinstance(error, RecursionError) else "nests too deeply"
    else:
        if not isinstance(values, dict):
            reason = "must be an object"
        elif holds_nul(text):
            reason = "must not contain NUL characters"
        else:
            return SourceRow(number, line, values)
    return SourceRow(number, line, {}, [RowProblem(number, line, "", reason)])


class _ArrayReader:
    """The elements of an array, of which only the one at hand is kept."""

    def __init__(self, content: FileContent) -> None:
        self._content = content
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1
        self._text, self._place = "", 0
        self._is_at_end = False

    def __iter__(self) -> Iterator[SourceRow]:
        self._pass("[")
        number = 0
        if self._upcoming() == "]":
            self._place += 1
        else:
            while True:
                number += 1
                line, element = self._element(number)
                yield _row_of(number, line, element)
                if self._pass(",", "]") == "]":
                    break
        if self._upcoming():
            raise UnreadableFile(f"goes on after the end of its array, in line {self._line}")

    def _element(self, number: int) -> tuple[int, bytes | str]:
        """The next element as it is written, and the line it begins in."""
        self._upcoming()
        line, size = self._line, _READ_AT_ONCE
        while True:
            try:
                _, end = _SCANNER.raw_decode(self._text, self._place)
            except (json.JSONDecodeError, RecursionError) as error:
                if isinstance(error, json.JSONDecodeError) and self._grow(size):
                    size *= 2
                    continue
                where = f"element {number} of the array, which begins in line {line}"
                is_long = len(self._text) - self._place > LONGEST_ROW_BYTES
                reason = f"{_TOO_LONG}, or is not valid JSON" if is_long else f"it is not valid JSON ({error})"
                raise UnreadableFile(f"cannot be read from {where} on: {reason}") from error
            if end < len(self._text) or not self._grow(_READ_AT_ONCE):
                break  # a number at the end of what was read may go on
        element = self._text[self._place : end]
        self._line += element.count("\n")
        self._place = end
        encoded = element.encode()
        return line, encoded if len(encoded) <= LONGEST_ROW_BYTES else _TOO_LONG

    def _upcoming(self) -> str:
        """The next character that is not blank, which is not passed; "" at the end."""
        passed = 0
        while True:
            begun = self._place
            while self._place < len(self._text) and self._text[self._place] in _BLANKS:
                self._line += self._text[self._place] == "\n"
                self._place += 1
            if self._place < len(self._text):
                return self._text[self._place]
            passed += self._place - begun
            if passed > LONGEST_ROW_BYTES:
                raise UnreadableFile(f"holds nothing but blanks for {LONGEST_ROW_BYTES} bytes before line {self._line}")
            if not self._grow(_READ_AT_ONCE):
                return ""

    def _pass(self, *expected: str) -> str:
        character = self._upcoming()
        if character not in expected or not character:
            there = f"'{character}' stands" if character else "the file ends"
            raise UnreadableFile(f"is broken in line {self._line}: {there} where {' or '.join(expected)} must be")
        self._place += 1
        return character

    def _grow(self, size: int) -> bool:
        """Read more; False at the end of the file, and when an element is too long."""
        if self._is_at_end or len(self._text) - self._place > 2 * LONGEST_ROW_BYTES:
            return False
        more = self._decoded(self._content.read(size))
        self._text, self._place = self._text[self._place :] + more, 0
        return True

    def _decoded(self, content: bytes) -> str:
        self._is_at_end = not content
        try:
            return self._decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise UnreadableFile(f"{_NOT_UTF8} (byte 0x{byte:02X} after line {self._line})") from error
