"""Coupons on pages: a new one, one with who has it, changes, and its end."""

from __future__ import annotations

from functools import partial
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.discounts import coupons
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.discounts.schemas import CreateCouponRequest, UpdateCouponRequest
from farthing.catalogue.discounts.tables import CouponAssociation, CouponRow
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.rating.totals.discounts import CouponType
from farthing.storage.queries.rows import find
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import changes, prepares, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.forms.fields import FieldKind, FormField, FormSection, metadata_rows, when
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import (
    Confirmation,
    FormPage,
    answer_form,
    confirm_page,
    form_page,
    made_once,
    typed,
)
from farthing.web.forms.reading import change_of, creation_of, shown_values
from farthing.web.rendering.answers import HttpRequest, done, refused, render

HOME = "/catalogue/coupons"
_CRUMBS = (("/catalogue", "Catalogue"), (HOME, "Coupons"))
_MOST_SHOWN = 50
_PERCENTAGE, _FIXED = when("type", CouponType.PERCENTAGE), when("type", CouponType.FIXED)
_METADATA = FormSection("Metadata", (metadata_rows(),), folded=True)
_NAME = FormField("name", "Name", required=True, hint="As invoices show it: Launch offer")
NEW_COUPON = (
    FormSection(
        "Coupon",
        (
            _NAME,
            FormField(
                "coupon_code",
                "Code",
                longest=100,
                placeholder="LAUNCH20",
                hint="What customers type; capitals make no difference",
            ),
            FormField(
                "type",
                "It takes off",
                FieldKind.CHOICE,
                required=True,
                initial=CouponType.PERCENTAGE.value,
                options=((CouponType.PERCENTAGE.value, "A percentage"), (CouponType.FIXED.value, "An amount")),
            ),
            FormField("percentage_off", "Percent", FieldKind.AMOUNT, placeholder="20", only_when=_PERCENTAGE),
            FormField("amount_off", "Amount", FieldKind.AMOUNT, placeholder="50.00", only_when=_FIXED),
            FormField("currency", "Currency", FieldKind.CURRENCY, longest=3, placeholder="USD", only_when=_FIXED),
        ),
    ),
    FormSection(
        "How long",
        (
            FormField(
                "cadence",
                "It lasts",
                FieldKind.CHOICE,
                required=True,
                initial=CouponCadence.ONCE.value,
                options=(
                    (CouponCadence.ONCE.value, "For one invoice"),
                    (CouponCadence.REPEATED.value, "For a number of billing periods"),
                    (CouponCadence.FOREVER.value, "As long as it is attached"),
                ),
            ),
            FormField(
                "duration_in_periods",
                "How many periods",
                FieldKind.WHOLE,
                placeholder="3",
                only_when=when("cadence", CouponCadence.REPEATED),
            ),
            FormField("redeem_after", "Redeemed from", FieldKind.DATE, hint="Days begin at 00:00 UTC"),
            FormField("redeem_before", "Redeemed before", FieldKind.DATE),
            FormField("max_redemptions", "Redeemed at most", FieldKind.WHOLE, placeholder="any number of times"),
        ),
    ),
    _METADATA,
)
CHANGED_COUPON = (FormSection("Coupon", (_NAME,)), _METADATA)
_NEW = FormPage("New coupon", _CRUMBS, "Create the coupon", "What it takes off, and for how long, never changes.")


class CouponPages(Controller):
    """Coupons."""

    path = HOME
    include_in_schema = False

    @get("/new", guards=[prepares("coupon")])
    async def begin(self, request: HttpRequest) -> Response[str]:
        """The form of a new coupon."""
        return form_page(request, _NEW, FilledForm(NEW_COUPON))

    @post("/new", guards=[changes("coupon")])
    async def create(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Make a coupon."""
        given = typed(request)

        async def make() -> tuple[str, str]:
            coupon = await coupons.create(session, convert(creation_of(NEW_COUPON, given), CreateCouponRequest))
            return f"{HOME}/{coupon.id}", f"{coupon.name} is made."

        save = partial(made_once, request, session, clock.now(), make)
        return await answer_form(request, _NEW, NEW_COUPON, given, save)

    @get("/{coupon_id:str}", guards=[shows("coupon")])
    async def read(self, coupon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One coupon, and the subscriptions that have it."""
        row = await find(session, CouponRow, coupon_id)
        attached = select(CouponAssociation, Subscription.customer_id).join(
            Subscription, Subscription.id == CouponAssociation.subscription_id
        )
        attached = attached.where(CouponAssociation.coupon_id == row.id, CouponAssociation.status == Status.PUBLISHED)
        newest = attached.order_by(CouponAssociation.created_at.desc(), CouponAssociation.id.desc()).limit(_MOST_SHOWN)
        uses = (await session.execute(newest)).all()
        return render(
            request,
            "catalogue/coupon.html",
            coupon=row,
            uses=uses,
            count=await session.scalar(select(func.count()).select_from(attached.subquery())) or 0,
            names=await names_of(session, {customer_id for _, customer_id in uses}),
        )

    @get("/{coupon_id:str}/edit", guards=[prepares("coupon")])
    async def edit(self, coupon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        row = await find(session, CouponRow, coupon_id)
        stands = shown_values(CHANGED_COUPON, {"name": row.name, "metadata": row.meta})
        return form_page(request, _edit_page(row), FilledForm(CHANGED_COUPON, stands))

    @post("/{coupon_id:str}/edit", guards=[changes("coupon")])
    async def change(self, coupon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Rename a coupon, or change its metadata."""
        page, given = _edit_page(await find(session, CouponRow, coupon_id)), typed(request)

        async def save() -> Redirect:
            await coupons.update(session, coupon_id, convert(change_of(CHANGED_COUPON, given), UpdateCouponRequest))
            return done(request, f"{HOME}/{coupon_id}", "Saved.")

        return await answer_form(request, page, CHANGED_COUPON, given, save)

    @get("/{coupon_id:str}/archive", guards=[prepares("coupon")])
    async def ask_archive(self, coupon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What archiving a coupon means."""
        row = await find(session, CouponRow, coupon_id)
        consequences = (
            "Nobody can redeem it any more, and its code is free for another coupon.",
            "Subscriptions that have it keep it for as long as it lasts. This cannot be undone.",
        )
        crumbs = (*_CRUMBS, (f"{HOME}/{row.id}", row.name))
        obstacle = "" if row.status is Status.PUBLISHED else f"{row.name} is archived already"
        return confirm_page(request, Confirmation(f"Archive {row.name}", crumbs, "Archive it", consequences, obstacle))

    @post("/{coupon_id:str}/archive", guards=[changes("coupon")])
    async def archive(self, coupon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Archive a coupon."""
        try:
            await coupons.archive(session, coupon_id)
        except FarthingError as error:
            return await refused(request, f"{HOME}/{coupon_id}", error)
        return done(request, HOME, "The coupon is archived.")


def _edit_page(row: CouponRow) -> FormPage:
    return FormPage(f"Edit {row.name}", (*_CRUMBS, (f"{HOME}/{row.id}", row.name)), "Save")
