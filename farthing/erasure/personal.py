"""What of a customer is personal, and texts and documents without it. Pure.

Rule: docs/rules/erasure.md#what-is-personal
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_UNMISTAKABLE = frozenset(
    {
        "name",
        "email",
        "contact",
        "address_line1",
        "address_line2",
        "tax_id",
        "external_id",
        "electronic_address_id",
        "registration_number",
        "mandate_reference",
        "debited_account",
        "recipient",
        "first_name",
        "last_name",
        "mobile",
    }
)
"""Fields whose text names the person wherever it stands, if it is long enough to be nothing else."""
_KEPT_FIELDS = frozenset(
    {
        "id",
        "tenant_id",
        "environment_id",
        "timezone",
        "billing_currency",
        "tax_treatment",
        "status",
        "created_at",
        "updated_at",
        "created_by",
        "updated_by",
    }
)
"""Fields of a customer that name nobody, and that dates and figures of documents follow from."""
_NAMING = frozenset({"customer_name", "customer_email", "label", "external_customer_id", "to", "recipient_name"})
"""Where else a short text is the person's if it is one of theirs."""
_FACTS = re.compile(r"(?:^|_)(?:id|status|type|currency|event_name|at|state|reason|plan_name|display_name)$")
"""Fields that say a fact of the books, whatever the person is called."""
_SHORTEST_UNMISTAKABLE = 8
_PERSONS = "contact_persons"


@dataclass(frozen=True)
class PersonalData:
    """The texts that name a person, and what each is replaced by. Texts are compared without regard to case."""

    replacements: Mapping[str, str]
    """By text, in lower case: every text that a field of the customer has had."""
    unmistakable: frozenset[str]
    """Those that are replaced wherever they stand."""
    pairs: frozenset[tuple[str, str]]
    """Field and text, for texts that are personal as the value of that field alone."""

    @classmethod
    def of(cls, customers: Iterable[Mapping[str, Any]], external_ids: Mapping[str, str]) -> PersonalData:
        """What documents about the customer say of it; `external_ids` have replacements of their own."""
        texts: dict[tuple[str, str], None] = {}
        for customer in customers:
            texts |= dict.fromkeys(_texts_of(customer))
        distinct = sorted({text.lower() for _, text in texts})
        replacements = {text: f"erased-{number}" for number, text in enumerate(distinct, start=1)}
        replacements |= {text.lower(): replacement for text, replacement in external_ids.items()}
        unmistakable = {text.lower() for field, text in texts if _is_unmistakable(field, text)}
        unmistakable |= {text.lower() for text in external_ids if _is_unmistakable("external_id", text)}
        pairs = {(field, text.lower()) for field, text in texts}
        pairs |= {(field, text.lower()) for text in external_ids for field in ("external_id", "external_customer_id")}
        return cls(replacements, frozenset(unmistakable), frozenset(pairs))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if not self.unmistakable:
            return None
        longest_first = sorted(self.unmistakable, key=lambda text: (-len(text), text))
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)

    def unmistakably(self) -> PersonalData:
        """The same without texts that are personal only as the value of a field: for what belongs to nobody."""
        replacements = {text: name for text, name in self.replacements.items() if text in self.unmistakable}
        return PersonalData(replacements, self.unmistakable, frozenset())

    def searched_texts(self) -> list[str]:
        """Texts of which one stands in every text that has something to erase, but for the values of single fields."""
        return sorted(self.unmistakable)

    def erased_text(self, text: str) -> str:
        """A text without what names the person."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self.replacements[match[0].lower()], text)

    def erased_label(self, text: str) -> str:
        """The same for a text that is nothing but the name of something."""
        return self.replacements.get(text.lower()) or self.erased_text(text)

    def erased_document(self, document: Any, field: str = "") -> Any:
        """A document of JSON without what names the person; `field` is what it is the value of."""
        match document:
            case str():
                return self._erased_value(field, document)
            case list():
                return [self.erased_document(value, field) for value in document]
            case {"field": str() as changed}:  # an entry of `changes`
                return {
                    name: value if name == "field" else self.erased_document(value, changed)
                    for name, value in document.items()
                }
            case dict():
                return {name: self.erased_document(value, name) for name, value in document.items()}
            case _:
                return document

    def _erased_value(self, field: str, text: str) -> str:
        folded = text.lower()
        if (field, folded) in self.pairs or (field in _NAMING and folded in self.replacements):
            return self.replacements[folded]
        if _FACTS.search(field) and "external" not in field:
            return text
        return self.erased_text(text)


def _texts_of(customer: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Field and text, of each text that a customer, as a document has it, says of the person."""
    for field, value in customer.items():
        match value:
            case str() if value.strip() and field not in _KEPT_FIELDS:
                yield field, value
            case dict() if field == "metadata":
                yield from ((name, text) for name, text in value.items() if isinstance(text, str) and text.strip())
            case list() if field == _PERSONS:
                yield from _texts_of_persons(value)


def _texts_of_persons(persons: Sequence[Any]) -> Iterable[tuple[str, str]]:
    for person in persons:
        named = {name: text for name, text in person.items() if isinstance(text, str) and name != "id"}
        yield from ((name, text) for name, text in named.items() if text.strip())
        full = " ".join(text for name in ("first_name", "last_name") if (text := named.get(name)))
        if full:
            yield "name", full


def _is_unmistakable(field: str, text: str) -> bool:
    """Whether a text is replaced wherever it stands: a short one may be a word of its own."""
    if "@" in text:
        return True
    return field in _UNMISTAKABLE and (len(text) >= _SHORTEST_UNMISTAKABLE or any(map(str.isspace, text.strip())))
