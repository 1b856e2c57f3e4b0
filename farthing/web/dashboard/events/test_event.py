"""A test event sent from a page, as a program would send it over the API."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import unit_of_work
from farthing.catalogue.products.tables import MeterRow
from farthing.core.caller import DELETE
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import new_ulid
from farthing.core.money import parse
from farthing.customers.tables import Customer
from farthing.events.ingest.arrivals import sender_named
from farthing.events.ingest.group_commit import Ingest
from farthing.events.ingest.incoming import AcceptedTimes, IngestEventRequest, arrival_of
from farthing.settings import Settings
from farthing.web.access.visitors import changes, prepares, visitor_of
from farthing.web.dashboard.events.event_example import event_by_curl
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, Sections, parts_of
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import ONCE, FormPage, answer_form, form_page, typed
from farthing.web.forms.reading import creation_of
from farthing.web.rendering.answers import HttpRequest, done

PAGE = "/events/new"
_MOST_CHOICES = 200
_PAGE = FormPage(
    "Send a test event",
    (("/events", "Events"),),
    "Send it",
    "It is counted and charged as if your program had sent it; it can be deleted again over the API.",
    below="event_example.html",
)


class TestEventPages(Controller):
    """Sending one event."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[prepares("event")])
    async def begin(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """The form."""
        form = await _form(session)
        return form_page(request, _PAGE, FilledForm(form), example=_example(services, form))

    @post("/", guards=[changes("event")])
    async def send(
        self, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[Any]:
        """Send it, once however often the form is sent, and look at what it counts."""
        form, given, now = await _form(session), typed(request), clock.now()

        async def save() -> Redirect:
            body = creation_of(form, given)
            event_id = f"test-{(given.get(ONCE) or new_ulid())[:50]}"
            properties = {
                row["key"]: _value(row.get("value", "")) for row in body.pop("properties", []) if "key" in row
            }
            asked = convert({**body, "event_id": event_id, "properties": properties}, IngestEventRequest)
            caller = visitor_of(request).caller
            sender = sender_named(caller.sender, corrects_all=caller.may(DELETE, "event"))
            arrival = arrival_of(asked, now, sender, None, AcceptedTimes.at(now, caller.terms))
            await services.part(Ingest).accept(unit_of_work(request).scope, [arrival])
            return done(request, f"/events/one?id={event_id}", "The event has arrived.")

        return await answer_form(request, _PAGE, form, given, save, values={"example": _example(services, form)})


def _example(services: Composition, form: Sections) -> str:
    """The first event of the form, from a program."""
    first = {part.name: part.initial for part, _ in parts_of(form) if isinstance(part, FormField)}
    base_url = services.part(Settings).base_url
    return event_by_curl(base_url, first["event_name"], first["external_customer_id"], None)


def _value(typed_text: str) -> str | float | int:
    """A number where it is one: sums count numbers."""
    try:
        number = parse(typed_text)
    except ValueError:
        return typed_text
    return int(number) if number == number.to_integral_value() else float(number)


async def _form(session: AsyncSession) -> Sections:
    """Events that something counts, of customers that there are."""
    names = await session.scalars(
        select(MeterRow.event_name)
        .where(MeterRow.status == Status.PUBLISHED)
        .distinct()
        .order_by(MeterRow.event_name)
        .limit(_MOST_CHOICES)
    )
    customers = await session.execute(
        select(Customer.external_id, Customer.name)
        .where(Customer.status == Status.PUBLISHED)
        .order_by(Customer.created_at.desc(), Customer.id.desc())
        .limit(_MOST_CHOICES)
    )
    events = [(name, name) for name in names]
    used_by = [(external_id, f"{name} ({external_id})") for external_id, name in customers]
    if not events:
        raise ValidationFailed("Nothing counts events yet: make a metered feature, or a plan with a price for usage")
    if not used_by:
        raise ValidationFailed("There is no customer yet who could have used anything")
    return (
        FormSection(
            "Event",
            (
                FormField("event_name", "Name", FieldKind.CHOICE, required=True, options=events, initial=events[0][0]),
                FormField(
                    "external_customer_id",
                    "Customer",
                    FieldKind.CHOICE,
                    required=True,
                    options=used_by,
                    initial=used_by[0][0],
                    hint="The id behind the name is the one that events carry",
                ),
                FormRows(
                    "properties",
                    "Properties",
                    "property",
                    (FormField("key", "Name"), FormField("value", "Value")),
                    "What your program would say of it: tokens is 120, region is eu.",
                ),
            ),
        ),
    )
