"""The forms of settings: every field that does something has one with a sentence, and what stands is saved as it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.identity.settings.catalogue import CATALOGUE, Configuration
from farthing.identity.settings.current import on_the_wire
from farthing.web.administration.settings.operations_forms import LEVELS
from farthing.web.administration.settings.setting_form import shown_value, value_of
from farthing.web.administration.settings.setting_pages import PAGES, spoken_parts
from farthing.web.forms.fields import FieldKind, FormField, parts_of

FILLED: dict[str, dict[str, Any]] = {
    "invoice_config": {"prefix": "ACME", "timezone": "Europe/Berlin", "due_date_days": 0, "separator": ""},
    "dunning_config": {"enabled": True, "retry_days": [2, 9], "final_action": "pause"},
    "einvoice_config": {
        "legal_name": "Larkspur AI Limited",
        "address": {"line1": "12 Grattan Quay", "city": "Dublin", "country": "IE"},
        "payment": {"iban": "IE29AIBK93115212345678", "means_code": "58"},
        "default_vat_category": "Z",
    },
    "email_config": {"enabled": True, "reminder_days": [-3, 10], "language": "ja", "low_balance": False},
    "wallet_balance_alert_config": {
        "alert_enabled": True,
        "critical": {"threshold": "10", "condition": "below"},
        "warning": {"threshold": "25.5", "condition": "below"},
    },
    "bonus_credits_topup_config": {
        "enabled": True,
        "slabs": [
            {"threshold": "1000", "bonus": {"type": "percentage", "value": "10"}},
            {
                "threshold": "100",
                "bonus": {"type": "flat", "value": "5"},
                "expiration_duration": 3,
                "expiration_duration_unit": "MONTH",
            },
        ],
    },
    "request_config": {"refuse_unknown_fields": True, "earliest_event_time": "2020-02-01T00:00:00Z"},
}


def test_every_setting_has_a_page_and_every_field_of_a_form_a_sentence() -> None:
    assert set(PAGES) == set(CATALOGUE)
    for key, page in PAGES.items():
        assert page.about.endswith("."), key
        assert page.in_words(page.kind()), key
        if page.form is None:
            continue
        named = {part.name.partition(".")[0] for part, _ in parts_of(page.form())}
        assert set(page.kind.__struct_fields__) <= named, key
        for section in page.form():
            for part in section.parts:
                assert not (isinstance(part, FormField) and part.kind is FieldKind.JSON)
                assert part.hint or section.lead or part.label in {"Second line", "Telephone", "E-mail"}, part.name


@pytest.mark.parametrize("key", [key for key, page in PAGES.items() if page.form is not None])
@pytest.mark.parametrize("filled", [False, True], ids=["by default", "filled in"])
def test_a_form_that_nobody_touched_saves_what_stands(key: str, *, filled: bool) -> None:
    page = PAGES[key]
    assert page.form is not None
    stands: Configuration = convert({**on_the_wire(page.kind()), **(FILLED.get(key, {}) if filled else {})}, page.kind)
    sections = page.form()
    said = value_of(page.kind, sections, shown_value(sections, on_the_wire(stands)))
    saved = {**on_the_wire(stands), **{name: msgspec.json.decode(raw) for name, raw in said.items()}}
    assert convert(saved, page.kind) == stands
    assert page.in_words(stands)
    assert "{" not in "".join(part.text for part in spoken_parts(on_the_wire(stands)))


@pytest.mark.parametrize(
    ("key", "typed", "field"),
    [
        ("dunning_config", {"retry_days": "1, two", "final_action": "none"}, "retry_days"),
        ("dunning_config", {"retry_days": "", "final_action": "none"}, "retry_days"),
        ("invoice_config", {"prefix": "X", "due_date_days": "1.5"}, "due_date_days"),
        ("bonus_credits_topup_config", {"slabs[0].threshold": "0,5"}, "slabs[0].threshold"),
    ],
)
def test_what_is_no_value_is_said_at_its_field(key: str, typed: dict[str, str], field: str) -> None:
    page = PAGES[key]
    assert page.form is not None
    with pytest.raises(ValidationFailed) as refused:
        value_of(page.kind, page.form(), typed)
    assert field in refused.value.details


def test_a_level_whose_balance_is_blank_is_none() -> None:
    page = PAGES["wallet_balance_alert_config"]
    assert page.form is not None
    said = value_of(page.kind, page.form(), {f"{level}.condition": "below" for level in LEVELS})
    assert (bytes(said["critical"]), bytes(said["alert_enabled"])) == (b"null", b"false")
