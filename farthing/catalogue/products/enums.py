"""Enums of features, meters and groups: what a column, a field on the wire or a rule may say."""

from __future__ import annotations

from enum import StrEnum


class GroupEntityType(StrEnum):
    """What a group lists."""

    PRICE = "price"
    FEATURE = "feature"


class FeatureType(StrEnum):
    """What having a feature means: an amount of usage, yes or no, a fixed text, or a set of values."""

    METERED = "metered"
    BOOLEAN = "boolean"
    STATIC = "static"
    CONFIG = "config"
