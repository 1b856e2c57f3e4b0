"""The two steps of a change: it is shown what it will come to, and it is carried out if it still comes to the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal, unit_of_work
from farthing.core.clock import Clock
from farthing.core.errors import FarthingError, VersionConflict
from farthing.web.access.submissions import SentBefore, begin_submission, end_submission, path_of_earlier
from farthing.web.dashboard.subscriptions.forms.consequences import (
    Consequences,
    NextInvoice,
    Preview,
    next_invoice,
    with_next,
)
from farthing.web.dashboard.subscriptions.forms.typed_form import AGREED, ONCE, TypedForm, problems_of
from farthing.web.rendering.answers import HttpRequest, done
from farthing.web.rendering.words import wording
from farthing.web.rendering.words.field_names import in_words

CHANGED_MEANWHILE = (
    "Something has changed since you looked, so nothing was done. This is what it would come to now: please look again."
)

TOO_MANY_REQUESTS = 429


class ChangedMeanwhile(VersionConflict):
    """What was confirmed would come to something else by now."""


@dataclass(frozen=True, slots=True)
class FormStep:
    """What a page about a change shows: what was typed, what was wrong with it, and what it would come to."""

    form: TypedForm
    problem: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    preview: Preview | None = None
    error: FarthingError | None = None
    """What `problem` says in English."""

    @classmethod
    def refused(cls, form: TypedForm, error: FarthingError) -> FormStep:
        problems = problems_of(error, form)
        of_lines = [f"{in_words(name.partition(':')[0])}: {why}" for name, why in problems.items() if ":" in name]
        return cls(form, "; ".join(of_lines) or wording.reason(error), problems, error=error)


@dataclass(frozen=True, slots=True)
class Change:
    """A change to be shown and carried out.

    `make` carries it out in the session that it is given; `version` reads that of the subscription before it, 0 of one
    that is yet to be made. `subscription_id` is None for one that is yet to be made. `sees_invoices`: whether the next
    invoice is shown with it. `address_of` makes an address of the path that is remembered with what was done.
    """

    form: TypedForm
    subscription_id: str | None
    version: Callable[[AsyncSession], Awaitable[int]]
    make: Callable[[AsyncSession, TypedForm], Awaitable[Consequences]]
    sees_invoices: bool
    address_of: Callable[[str], str] = str


MakeOnce = Callable[[], Awaitable[Consequences]]
Carry = Callable[[AsyncSession, MakeOnce], Awaitable[str]]
"""Carries a change out in the request's session and collects what it has invoiced; the page to go on with."""


async def look(request: HttpRequest, change: Change, clock: Clock) -> FormStep:
    """What a change would come to; everything is undone."""
    try:
        return FormStep(change.form, preview=await _preview(request, change, clock))
    except FarthingError as error:
        return FormStep.refused(change.form, error)


async def _preview(request: HttpRequest, change: Change, clock: Clock) -> Preview:
    async with rehearsal(request) as undone:
        version = await change.version(undone)
        consequences = await change.make(undone, change.form)
        goes_on = consequences.following_id or change.subscription_id or ""
        following = await next_invoice(undone, goes_on, clock.now()) if change.sees_invoices else NextInvoice()
    without = NextInvoice()
    if change.sees_invoices and change.subscription_id is not None:
        async with rehearsal(request) as undone:
            without = await next_invoice(undone, change.subscription_id, clock.now())
    agreed = with_next(consequences.agreement(version), following)
    return Preview(consequences, agreed, following.bill, following.problem, without.bill)


async def carry_out(request: HttpRequest, change: Change, clock: Clock, carry: Carry, said: str) -> Redirect | FormStep:
    """Do what was looked at, once however often it is sent: the page to go on with, or what to look at again.

    It is rehearsed first, with the next invoice, and compared again under the locks of what is done.
    """
    form, work = change.form, unit_of_work(request)
    once = form.text(ONCE)
    try:
        shown = await _preview(request, change, clock)
        if shown.agreed != form.text(AGREED):
            raise ChangedMeanwhile(CHANGED_MEANWHILE)
        await work.admit()
        session = work.session

        async def make_once() -> Consequences:
            key = await begin_submission(session, once, clock.now())
            version = await change.version(session)
            consequences = await change.make(session, form)
            if consequences.agreement(version) != shown.consequences.agreement(version):
                raise ChangedMeanwhile(CHANGED_MEANWHILE)
            await end_submission(session, key, consequences.path)
            return consequences

        return done(request, change.address_of(await carry(session, make_once)), said)
    except SentBefore as sent:
        await work.finish(commit=False)
        return done(request, change.address_of(sent.path), said)
    except FarthingError as error:
        if error.status >= TOO_MANY_REQUESTS:
            raise  # it may be carried out later, or was carried out
        await work.finish(commit=False)
        return await _not_done(request, change, clock, said)


async def _not_done(request: HttpRequest, change: Change, clock: Clock, said: str) -> Redirect | FormStep:
    """Where a form led that was sent before and for which it is too late now; else what it would come to now."""
    async with rehearsal(request) as session:
        path = await path_of_earlier(session, change.form.text(ONCE))
    if path is not None:
        return done(request, change.address_of(path), said)
    again = await look(request, replace(change, form=TypedForm(change.form.fields, clock.now())), clock)
    if again.preview is None:
        return again
    return replace(again, problem=CHANGED_MEANWHILE, error=ChangedMeanwhile(CHANGED_MEANWHILE))
