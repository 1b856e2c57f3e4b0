"""Does each line of an invoice come to what its own record says: price, quantity, share, commitment? Pure.

Nothing is billed again here: entitlements, coupons and commitments may have changed since, but a line keeps what it was
made of, and prices never change. What was used is measured again elsewhere (`proof`). Lines that somebody edited by
hand are theirs, and prove nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from farthing.billing.calculation.charges import OPENINGS
from farthing.billing.calculation.commitments import span_of
from farthing.billing.calculation.draft import explained
from farthing.billing.proof.late_pools import late_pool_faults
from farthing.billing.proof.rating.quotas import is_over_money, quota_faults
from farthing.billing.proof.rating.service_time import service_span_at, service_time_faults
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.enums import LineKind
from farthing.core.money import EXACT, ZERO, exact_sum, plain, round_to
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.rating.commitments.allowance import over
from farthing.rating.commitments.line_commitment import LineCommitment, item_commitment
from farthing.rating.pricing.cost import explain
from farthing.rating.pricing.price import BillingModel, RatedPrice
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot

QUANTITY_DIGITS = 15  # as quantities are stored


@dataclass(frozen=True, slots=True)
class Sources:
    """What lines refer to: `prices` by id, the subscriptions as they stand now, which of them threshold invoices have
    cut (`cut`), and the meters whose buckets are priced one by one (`bucketed`)."""

    prices: Mapping[str, RatedPrice]
    members: Mapping[str, SubscriptionSnapshot]
    cut: frozenset[str]
    bucketed: frozenset[str]

    def item(self, line: InvoiceLineItem) -> LineItemSnapshot | None:
        """The line item that was charged; None when it is gone."""
        member = self.members.get(line.subscription_id or "")
        return None if member is None else member.item(line.subscription_line_item_id or "")


def faults(invoice: Invoice, lines: Sequence[InvoiceLineItem], sources: Sources) -> Iterator[Difference]:
    """Every line that is not what its record makes it, and every line that has no record; `lines` in their order."""
    billed = invoice.invoice_type is InvoiceType.SUBSCRIPTION and invoice.derived_key
    if billed and not invoice.is_manually_edited:
        places, wanted = [line.position for line in lines], list(range(len(lines)))
        yield from _unless(invoice.id, "places of its lines", places, wanted)
    usage: dict[str, list[InvoiceLineItem]] = defaultdict(list)
    late: list[InvoiceLineItem] = []
    for line in lines:
        kind = line.kind
        if line.parent_line_item_id is not None or (kind is None and (invoice.is_manually_edited or not billed)):
            continue
        if kind is None:
            yield Difference(line.id, "record of how it was rated", "none", "kind, quantity and parts")
            continue
        if line.price_id is not None and line.price_id not in sources.prices:
            yield Difference(line.id, "price", line.price_id, "no such price")
            continue
        yield from _window(invoice, line, kind, sources) if billed else ()
        if kind is LineKind.FIXED:
            yield from _fixed(invoice, line, sources)
        elif kind is LineKind.LATE_USAGE:
            late.append(line)
            yield from _late(invoice, line, sources)
        else:
            usage[line.subscription_id or ""].append(line)
    yield from late_pool_faults(late)
    for subscription_id, theirs in usage.items():
        yield from _UsageLines(invoice, sources.members.get(subscription_id), theirs, sources).faults()


def _unless(where: str, figure: str, stored: object, derived: object) -> Iterator[Difference]:
    if stored != derived:
        yield Difference(where, figure, _text(stored), _text(derived))


def _text(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)


def _record(line: InvoiceLineItem) -> dict[str, Any]:
    """What the line says of its rating, without what is said of the line as a whole."""
    apart, facts = {"gross", "current_usage", "charged_before"}, (line.rating or {}).items()
    return {key: value for key, value in facts if key not in apart and not key.startswith("pool_")}


def _rated_quantity(line: InvoiceLineItem) -> Decimal:
    return Decimal((line.rating or {}).get("quantity", "0"))


# fees


def _fixed(invoice: Invoice, line: InvoiceLineItem, sources: Sources) -> Iterator[Difference]:
    """A fee: cost of the quantity, times the share of the period, rounded, less a credit.

    Rule: docs/rules/billing.md#fixed-amount
    """
    digits = currency.digits(invoice.charge_currency)
    share = Fraction(_record(line).get("share", 1))
    breakdown = explain(sources.prices[line.price_id or ""], line.quantity)
    yield from _unless(line.id, "rating", _record(line), explained(breakdown, share))
    item = sources.item(line)
    if item is not None:
        yield from _unless(line.id, "quantity", plain(line.quantity), plain(item.quantity))
        yield from service_time_faults(line, item, sources.members[line.subscription_id or ""], share)
    due = round_to(Fraction(breakdown.amount) * share, digits)
    if "gross" in (line.rating or {}):
        gross = Decimal((line.rating or {})["gross"])
        if gross != due:
            yield Difference(line.id, "charge before its credit", plain(gross), plain(due))
        due = gross
    if invoice.billing_reason is BillingReason.SUBSCRIPTION_TRIAL_START:
        due = ZERO
    left = EXACT.subtract(due, line.proration_credit)
    yield from _unless(line.id, "price x quantity x share", line.charge_amount, left)


def _late(invoice: Invoice, line: InvoiceLineItem, sources: Sources) -> Iterator[Difference]:
    """What the usage of a past window costs now, less what was charged of it.

    Rule: docs/rules/late-usage.md#what-is-charged
    """
    rating = line.rating or {}
    cost = _parts_sum(line)
    if line.meter_id not in sources.bucketed and not is_over_money(line):
        breakdown = explain(sources.prices[line.price_id or ""], _rated_quantity(line))
        cost = breakdown.amount
        yield from _unless(line.id, "rating", _record(line), explained(breakdown))
    if line.commitment_info is not None:
        of_member = _UsageLines(invoice, sources.members.get(line.subscription_id or ""), [line], sources)
        yield from of_member.own_commitment(line)
        cost = _worth_under_commitment(line.commitment_info)
    if "pool_now" not in rating:
        before = Decimal(rating.get("charged_before", "0"))
        due = EXACT.subtract(round_to(cost, currency.digits(invoice.charge_currency)), before)
        yield from _unless(line.id, "late usage less what was charged", line.charge_amount, due)
    if line.raw_usage is not None and "current_usage" in rating:
        covered = over(line.raw_usage, line.quantity)
        yield from _unless(line.id, "quantity covered", line.adjusted_entitlement_quantity, covered)


def _worth_under_commitment(info: Mapping[str, Any]) -> Decimal:
    """What an item's own commitment makes of its usage, by the parts that are told of it."""
    keys = ("computed_commitment_utilized_amount", "computed_overage_amount", "computed_true_up_amount")
    return exact_sum([Decimal(info[key]) for key in keys])


def _parts_sum(line: InvoiceLineItem) -> Decimal:
    """The unrounded cost that the recorded parts sum to."""
    return exact_sum([_part_amount(part) for part in (line.rating or {}).get("parts", ())])


def _part_amount(part: Mapping[str, str]) -> Decimal:
    flat = Decimal(part.get("flat_amount", "0"))
    return EXACT.fma(Decimal(part["quantity"]), Decimal(part["unit_amount"]), flat)


# usage


@dataclass(frozen=True, slots=True)
class _Charge:
    """One usage charge before the subscription's commitment, and the lines it is on."""

    lines: Sequence[InvoiceLineItem]
    billable: Decimal
    cost: Decimal | None
    amount: Decimal

    @property
    def main(self) -> InvoiceLineItem | None:
        """The line within the commitment; None when all of it was overage."""
        return next((line for line in self.lines if line.kind is LineKind.USAGE), None)

    @property
    def overage(self) -> InvoiceLineItem | None:
        return next((line for line in self.lines if line.kind is LineKind.OVERAGE), None)


@dataclass(frozen=True, slots=True)
class _UsageLines:
    """The usage of one subscription on one invoice, with what its commitment made of it."""

    invoice: Invoice
    member: SubscriptionSnapshot | None
    lines: Sequence[InvoiceLineItem]
    sources: Sources

    @property
    def digits(self) -> int:
        return currency.digits(self.invoice.charge_currency)

    def faults(self) -> Iterator[Difference]:
        by_item: dict[str, list[InvoiceLineItem]] = defaultdict(list)
        of_all: list[InvoiceLineItem] = []
        true_ups: list[InvoiceLineItem] = []
        for line in self.lines:
            if line.kind is LineKind.TRUE_UP:
                true_ups.append(line)
            elif line.subscription_line_item_id is None:
                of_all.append(line)
            else:
                by_item[line.subscription_line_item_id].append(line)
        charges = []
        for parts in by_item.values():
            yield from self._own(parts)
            charges.append(self._charge(parts))
        for charge in charges:
            yield from self._quantities(charge, scaled=bool(of_all))
            if charge.overage is not None:
                yield from self._split(charge, charge.overage)
            elif not of_all:
                yield from self._whole(charge)
        if of_all:
            yield from self._cumulative(charges, of_all)
        for line in true_ups:
            yield from self._true_up(line, charges)

    def _own(self, parts: Sequence[InvoiceLineItem]) -> Iterator[Difference]:
        """What each line says of its price, its item's commitment and its allowance."""
        for line in parts:
            price, record = self.sources.prices[line.price_id or ""], _record(line)
            yield from quota_faults(line, _parts_sum(line) if is_over_money(line) else _rated_quantity(line))
            if line.meter_id in self.sources.bucketed:
                yield from _bucketed_parts(line, price)
            elif not is_over_money(line):  # what is over a quota of money is the charge
                yield from _unless(line.id, "rating", record, explained(explain(price, _rated_quantity(line))))
            if line.raw_usage is not None and line.already_invoiced is None:
                billable = round_to(_rated_quantity(line), QUANTITY_DIGITS)
                covered = line.adjusted_entitlement_quantity
                yield from _unless(line.id, "usage - billable", covered, over(line.raw_usage, billable))
            yield from self.own_commitment(line)

    def own_commitment(self, line: InvoiceLineItem) -> Iterator[Difference]:
        """What a line says of its item's own commitment."""
        item, info = self.sources.item(line), line.commitment_info
        if item is None:
            return
        promised = item.commitment is not None or bool(item.buckets)
        if (info is not None) != promised:
            yield Difference(line.id, "commitment", _text(info), "told" if promised else "none")
        if info is None or item.commitment is None or "amount" not in info:
            return
        terms = item.commitment.terms
        stored = info["amount"], info["overage_factor"], info["true_up_enabled"], info["is_windowed"]
        agreed = plain(terms.amount), plain(terms.overage_factor), terms.true_up, item.commitment.windowed
        yield from _unless(line.id, "commitment", stored, agreed)
        if self._over_several(item, info) or "pool_item_id" in (line.rating or {}):
            return
        charge = item_commitment(self._cost(line), self._terms(info)).rounded(self.digits)
        utilized = EXACT.add(charge.utilized, charge.uncommitted)
        yield from _unless(line.id, "commitment used", info["computed_commitment_utilized_amount"], plain(utilized))
        yield from _unless(line.id, "commitment overage", info["computed_overage_amount"], plain(charge.overage))
        yield from _unless(line.id, "commitment true-up", info["computed_true_up_amount"], plain(charge.true_up))

    def _over_several(self, item: LineItemSnapshot | None, info: Mapping[str, Any]) -> bool:
        """Whether the line's cost alone does not tell its charge: windows, earlier periods or other versions of the
        item have used of the same commitment."""
        if item is None or item.commitment is None or item.commitment.duration is not None or info["is_windowed"]:
            return True
        others = () if self.member is None else self.member.items
        return any(
            other.commitment is not None
            and other.commitment.promise == item.commitment.promise
            and (other.replaces_id == item.id or other.id == item.replaces_id)
            for other in others
        )

    def _terms(self, info: Mapping[str, Any]) -> LineCommitment:
        amount, factor = Decimal(info.get("amount_in_force", info["amount"])), Decimal(info["overage_factor"])
        return LineCommitment(amount, factor, bool(info["true_up_enabled"]) and not self._is_cut)

    def _cost(self, line: InvoiceLineItem) -> Decimal:
        if line.meter_id in self.sources.bucketed or is_over_money(line):
            return _parts_sum(line)
        return explain(self.sources.prices[line.price_id or ""], _rated_quantity(line)).amount

    def _charge(self, parts: Sequence[InvoiceLineItem]) -> _Charge:
        first = parts[0]
        billable, info, item = _rated_quantity(first), first.commitment_info, self.sources.item(first)
        if info is not None and self._over_several(item, info):
            # what a window, or an earlier period, had used is not on the line: only the parts of its charge are
            return _Charge(parts, billable, None, _worth_under_commitment(info))
        cost = self._cost(first)
        charged = cost if info is None else item_commitment(cost, self._terms(info)).amount
        return _Charge(parts, billable, cost, round_to(charged, self.digits))

    def _quantities(self, charge: _Charge, *, scaled: bool) -> Iterator[Difference]:
        if scaled or self._leaves_out(charge) or any(line.already_invoiced is not None for line in charge.lines):
            return
        stored = exact_sum([line.quantity for line in charge.lines])
        derived = round_to(charge.billable, QUANTITY_DIGITS)
        yield from _unless(charge.lines[0].id, "quantity", plain(stored), plain(derived))

    @property
    def _is_cut(self) -> bool:
        """Whether the invoice leaves lines out that have nothing left to charge, as threshold invoices do."""
        return self.invoice.billing_reason is BillingReason.AUTO_INVOICE_THRESHOLD

    def _leaves_out(self, charge: _Charge) -> bool:
        """Whether a part of the charge may be missing, because all of it was charged before."""
        return self._is_cut and (charge.main is None or charge.overage is None)

    def _whole(self, charge: _Charge) -> Iterator[Difference]:
        """A charge that no commitment of the subscription has cut."""
        (line, *_) = charge.lines
        base = _base(line)
        if (
            self._is_cut
            and base < charge.amount
            and line.charge_amount == self._left(line, round_to(base, self.digits))
        ):
            return  # what is over the commitment was charged before
        yield from _unless(line.id, "price x quantity", line.charge_amount, self._left(line, charge.amount))
        if charge.cost is not None and base not in {charge.cost, charge.amount}:
            yield Difference(line.id, "base", plain(base), plain(charge.cost))

    def _left(self, line: InvoiceLineItem, amount: Decimal) -> Decimal:
        """What is charged of an amount of which threshold invoices have charged a part.

        Rule: docs/rules/billing.md#progressive-billing
        """
        return max(EXACT.subtract(amount, line.already_invoiced or ZERO), ZERO)

    def _split(self, charge: _Charge, overage: InvoiceLineItem) -> Iterator[Difference]:
        """A charge that the commitment ends in, or before.

        Rule: docs/rules/commitments.md#subscription-level
        """
        bases = exact_sum([_base(line) for line in charge.lines])
        if not self._leaves_out(charge) or bases > charge.amount:
            yield from _unless(overage.id, "within and over the commitment", bases, charge.amount)
        within = charge.main
        if within is not None:
            yield from _unless(
                within.id, "amount within the commitment", within.charge_amount, self._left(within, _base(within))
            )
        factor = Fraction(overage.overage_factor or 1)
        inside = EXACT.subtract(charge.billable, overage.quantity)
        item, exact = self.sources.item(overage), {Fraction(_base(overage))}
        unit = self._unit_price(charge, overage, item)
        if unit is not None:
            exact.add((Fraction(charge.billable) - Fraction(inside)) * unit)
        due = {self._left(overage, round_to(cost * factor, self.digits)) for cost in exact}
        if overage.already_invoiced is not None:
            # how many units are over is told less those that threshold invoices charged
            near = any(abs(overage.charge_amount - amount) <= (factor + 1) / 10**self.digits for amount in due)
            due = due | {overage.charge_amount} if near else due
        if overage.charge_amount not in due:
            yield Difference(
                overage.id, "overage x factor", plain(overage.charge_amount), " or ".join(map(plain, sorted(due)))
            )

    def _unit_price(self, charge: _Charge, line: InvoiceLineItem, item: LineItemSnapshot | None) -> Fraction | None:
        price = self.sources.prices[line.price_id or ""]
        if price.model is BillingModel.FLAT_FEE and price.amount and (item is None or item.commitment is None):
            return Fraction(price.amount)
        return Fraction(charge.amount) / Fraction(charge.billable) if charge.billable else None

    def _cumulative(self, charges: Iterable[_Charge], of_all: Sequence[InvoiceLineItem]) -> Iterator[Difference]:
        """Each charge's share of what is within, and one overage for the rest.

        Rule: docs/rules/commitments.md#cumulative
        """
        known, on_lines = ZERO, exact_sum([_base(line) for line in of_all])
        for charge in charges:
            known = EXACT.add(known, charge.amount)
            for line in charge.lines:
                on_lines = EXACT.add(on_lines, _base(line))
                due = self._left(line, round_to(_base(line), self.digits))
                yield from _unless(line.id, "amount within the commitment", line.charge_amount, due)
        if not self._is_cut and abs(EXACT.subtract(known, on_lines)) >= Decimal(1).scaleb(-self.digits):
            yield from _unless(of_all[0].id, "within and over the commitment", on_lines, known)
        for line in of_all:
            factor = line.overage_factor or Decimal(1)
            due = self._left(line, round_to(EXACT.multiply(_base(line), factor), self.digits))
            yield from _unless(line.id, "overage x factor", line.charge_amount, due)

    def _true_up(self, line: InvoiceLineItem, charges: Sequence[_Charge]) -> Iterator[Difference]:
        """What is left of the commitment.

        Rule: docs/rules/commitments.md#subscription-level
        """
        amount, used = line.commitment_amount or ZERO, line.commitment_utilized or ZERO
        left = round_to(EXACT.subtract(amount, used), self.digits)
        yield from _unless(line.id, "commitment - what was used", line.charge_amount, left)
        here = exact_sum([charge.amount for charge in charges])
        commitment = None if self.member is None else self.member.commitment
        if self.member is None or commitment is None or plain(commitment.amount) != plain(amount):
            return
        if self.invoice.period_start is None or self.invoice.period_end is None:
            return
        period = Period(self.invoice.period_start, self.invoice.period_end)
        if span_of(self.member, commitment.duration, period) is None:
            yield from _unless(line.id, "commitment used", used, here)
        elif used < here:
            yield Difference(line.id, "commitment used", plain(used), f"at least {plain(here)}")


def _base(line: InvoiceLineItem) -> Decimal:
    """The cost that counts towards a commitment."""
    return line.commitment_base or ZERO


def _bucketed_parts(line: InvoiceLineItem, price: RatedPrice) -> Iterator[Difference]:
    """Many values were priced one by one; the parts are their sums, at the price's own amounts."""
    for part in (line.rating or {}).get("parts", ()):
        derived = price.amount
        if price.model is BillingModel.TIERED:
            tier = part.get("tier", -1)
            derived = price.tiers[tier].unit_amount if 0 <= tier < len(price.tiers) else ZERO
        yield from _unless(line.id, "unit amount", part["unit_amount"], plain(derived))
        yield from _unless(line.id, "amount of a part", Decimal(part["amount"]), _part_amount(part))


# where a line stands


def _window(invoice: Invoice, line: InvoiceLineItem, kind: LineKind, sources: Sources) -> Iterator[Difference]:
    """A line charges a stretch that its invoice is for.

    Rule: docs/rules/billing.md#charges-on-an-invoice
    """
    item, member = sources.item(line), sources.members.get(line.subscription_id or "")
    if kind in {LineKind.LATE_USAGE, LineKind.TRUE_UP} or item is None or member is None:
        return
    start, end = line.period_start, line.period_end
    if start is None or end is None or invoice.period_start is None or invoice.period_end is None:
        yield Difference(line.id, "period", f"{start} to {end}", "a start and an end")
        return
    header = Period(invoice.period_start, invoice.period_end)
    stored = f"{start:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}"
    if not _stands(invoice, item, member, header, start, end, is_cut=line.subscription_id in sources.cut):
        yield Difference(line.id, "period", stored, f"a period of the item on an invoice for {header}")
    elif (
        kind is LineKind.FIXED
        and start < end
        and Fraction(_record(line).get("share", 1))
        > _most(member, item, header, Period(start, end), is_cut=line.subscription_id in sources.cut)
    ):
        yield Difference(line.id, "share", str(_record(line).get("share", 1)), f"the share that {stored} is")


def _stands(
    invoice: Invoice,
    item: LineItemSnapshot,
    member: SubscriptionSnapshot,
    header: Period,
    start: datetime,
    end: datetime,
    *,
    is_cut: bool,
) -> bool:
    if item.is_onetime:
        return start == end == item.start
    opens = InvoiceTrigger((invoice.billing_reason or BillingReason.SUBSCRIPTION_CYCLE).value) in OPENINGS
    ahead = item.is_advance and not opens
    since = header.end if ahead else header.start
    if not item.is_usage and member.has_longer_period(item):
        if not item.is_advance:
            return item.start <= start < end <= header.end and (is_cut or end > header.start)
        return max(item.start, since) <= start < end and (ahead or start < header.end)
    if ahead and header.start < start < header.end:
        # the rest of a fee that was charged up to an end which did not hold
        return item.start <= start < end <= header.end
    if is_cut and not ahead and item.start <= start < since:
        return start < end <= header.end
    return start == max(item.start, since) and start < end and (ahead or end <= header.end)


def _most(
    member: SubscriptionSnapshot, item: LineItemSnapshot, header: Period, window: Period, *, is_cut: bool
) -> Fraction:
    """The largest share of a full fee that a window may be charged.

    An end that does not prorate cuts the header of a whole fee, and a pause stretches it beyond the service time.
    """
    inside = header.start <= window.start and window.end <= header.end
    span = service_span_at(member, item, window.start)
    if member.has_longer_period(item) or is_cut or not inside or span is None:
        return Fraction(1)
    return min(max(window.fraction_of(header), span.share(window.duration)), Fraction(1))
