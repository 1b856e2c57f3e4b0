"""The languages that customers are spoken to in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Language = Literal["en", "de", "fr", "es", "hi", "ja"]
FALLBACK: Language = "en"
LANGUAGES: Mapping[str, str] = MappingProxyType(
    {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "hi": "हिन्दी", "ja": "日本語"}
)
"""What each language calls itself."""
