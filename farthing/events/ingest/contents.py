"""An event's JSON: exact numbers in, the same numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from farthing.metering.canonical import json_number

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=json_number)


def written(properties: Mapping[str, Any]) -> str:
    """Properties as JSON text for a jsonb column."""
    return _ENCODER.encode(properties).decode()


def read(text: str) -> dict[str, Any]:
    """Properties from the text of a jsonb column."""
    return _DECODER.decode(text)


def to_milliseconds(moment: datetime) -> datetime:
    """Event time is kept to the millisecond, cut."""
    beyond = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - beyond) if beyond else moment
