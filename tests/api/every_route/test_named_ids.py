"""Every id that a request names has to exist in the caller's environment: else the request is refused whole.

The fields are found in the schemas of the bodies, so that a new one is tried without being listed. Each is tried with
an id of another tenant in a request that is valid but for it, and the refusal has to name the id or its field.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import httpx

from tests.account import Account
from tests.api.books import Books
from tests.api.endpoints import BY_ID, ENDPOINTS, Endpoint
from tests.api.every_route.test_malformed import fields
from tests.api.tour.building import TAX_CODE, build
from tests.api.tour.calls import Call, Made, OverHttp, Recorder, send
from tests.api.tour.changing import change, end
from tests.api.tour.reading import read

NAME_NOTHING_HERE = {
    "event_id": "the sender gives an event its id",
    "external_id": "the caller's own system gives a customer its id",
    "provider_entity_id": "the provider gives this id",
    "tax_id": "a tax office gives this number",
    "gateway_payment_id": "the provider gives this id",
    "gateway_payment_method_id": "the provider gives this id, and is asked about it when it is charged",
    "payment_method_id": "the provider gives this id, and is asked about it when it is charged",
}
"""Fields of any request that name nothing that is stored here."""
EXCEPTIONS = {
    ("ingestEvent", "customer_id"): "events are taken before their customer exists",
    ("ingestEvent", "external_customer_id"): "events are taken before their customer exists",
    ("ingestEventsBulk", "customer_id"): "events are taken before their customer exists",
    ("ingestEventsBulk", "external_customer_id"): "events are taken before their customer exists",
    ("amendEvents", "customer_id"): "events are taken before their customer exists",
    ("amendEvents", "external_customer_id"): "events are taken before their customer exists",
    ("getUsageAnalytics", "external_customer_id"): "a filter; what nobody has, has no figures",
    ("getUsageAnalytics", "feature_ids"): "a filter; what nobody has, has no figures",
    ("getPortalUsageAnalytics", "external_customer_id"): "not read: the session says whose figures are shown",
    ("getPortalUsageAnalytics", "feature_ids"): "a filter; what nobody has, has no figures",
    ("getDetailedCostAnalytics", "external_customer_id"): "a filter; what nobody has, has no figures",
    ("getDetailedCostAnalytics", "feature_ids"): "a filter; what nobody has, has no figures",
    **{
        ("listActivity", field): "a filter; nothing is listed of what nobody has"
        for field in ("actor_id", "customer_id", "entity_id", "request_id")
    },
    **{
        (operation, field): "a filter; what nobody has, has no figures"
        for operation in ("getRevenueAnalytics", "getRevenueAnalyticsCsv")
        for field in ("customer_ids", "meter_ids", "price_ids", "subscription_ids")
    },
    ("createPlan", "entity_id"): "refused: the plan that is made gets the prices",
    ("cancelSubscriptionSchedule", "schedule_id"): "the path names it, and the schedule is looked for first",
    ("cancelSubscriptionSchedule", "subscription_id"): "the path names the schedule, which is looked for first",
    ("listRawEvents", "external_customer_id"): "a filter; events are kept for customers who do not exist",
    ("getUsageStatistics", "external_customer_id"): "a filter; events are kept for customers who do not exist",
    ("getUsageByMeter", "external_customer_id"): "a filter; events are kept for customers who do not exist",
}
"""Operation and field: why it may name what does not exist."""
NOT_REACHED = {
    "commitment_time_buckets": "refused for their meter first, which has no buckets here",
    "aws": "the marketplace gives these ids",
    "azure": "the marketplace gives these ids",
    "gcp": "the marketplace gives these ids",
    "modify_subscription_params": "refused: such a checkout begins with the change itself",
    "wallet_topup_params": "refused: such a checkout begins with the top-up itself",
    "add_addon_params": "refused: such a checkout begins with the addon itself",
}
"""Parts of bodies that no case reaches, and why."""

OF_A_STRANGER = {
    "customer_id": "customer",
    "price_id": "price",
    "plan_id": "plan",
    "target_plan_id": "plan",
    "feature_id": "switch",
    "feature_ids": "switch",
    "meter_id": "meter",
    "group_id": "group",
    "subscription_id": "subscription",
    "parent_subscription_id": "subscription",
    "child_subscription_ids": "subscription",
    "coupon_id": "coupon",
    "tax_rate_id": "tax",
    "tax_association_id": "levy",
    "scope_id": "customer",
    "addon_id": "addon",
    "entitlement_id": "entitlement",
    "parent_entitlement_id": "entitlement",
    "line_item_id": "line",
    "line_item_ids": "line",
    "subscription_line_item_id": "line",
    "destination_id": "invoice",
    "service_account_id": "service",
    "target_environment_id": "environment",
}
"""Which row of another tenant a field names; what is not listed names one that nobody has."""
OF_NOBODY = "none_00000000000000000000000000"


def cases_beside_the_tour(made: Made) -> list[Call]:
    """Valid requests for the fields that the tour does not use."""
    subscription, line, price, customer = made["subscription"], made["line"], made["price"], made["customer"]
    draft = made["second draft"]
    charge = {"display_name": "Walk", "amount": "100", "quantity": "1"}
    invoice: dict[str, Any] = {
        "customer_id": customer,
        "currency": "usd",
        "subtotal": "100",
        "total": "100",
        "amount_due": "100",
    }
    invoice |= {"invoice_status": "DRAFT", "line_items": [charge]}
    on_line = {"coupon_id": made["coupon"], "line_item_id": price}
    terms: dict[str, Any] = {
        "customer_id": customer,
        "plan_id": made["plan"],
        "currency": "usd",
        "billing_period": "MONTHLY",
    }
    terms |= {"billing_period_count": 1, "start_date": "2026-01-01T00:00:00Z"}
    override = {"price_id": price, "amount": "5"}
    own_price = {"type": "USAGE", "price_unit_type": "FIAT", "billing_period": "MONTHLY", "amount": "1"}
    own_price |= {"billing_model": "FLAT_FEE", "invoice_cadence": "ARREAR", "meter_id": made["meter"]}
    mapping = {"provider": "stripe", "provider_entity_id": "cus_walk"}
    addon = {"addon_id": made["addon"], "override_line_items": [{"price_id": made["addon price"], "amount": "5"}]}
    phase = {"start_date": "2026-01-01T00:00:00Z"}
    onto = {"target_plan_id": made["larger plan"], "proration_behavior": "none"}

    rate = {"from_currency": "usd", "to_currency": "xts", "rate": "2", "end_date": "2020-01-01T00:00:00Z"}

    def subscribing(**more: Any) -> Call:
        return Call("createSubscription", body={**terms, **more})

    def modifying(kind: str, **params: Any) -> list[Call]:
        body = {"type": kind, f"{kind}_params": params}
        return [
            Call(operation, {"id": subscription}, body=body)
            for operation in ("executeSubscriptionModify", "previewSubscriptionModify")
        ]

    changed_price = {**own_price, "type": "FIXED"}
    del changed_price["meter_id"]
    grouped_price = {**own_price, "currency": "usd", "group_id": made["group"]}
    return [
        Call("createPlan", body={"name": "Walk", "prices": [grouped_price]}),
        Call("createInvoice", body=invoice),
        Call("createInvoice", body={**invoice, "invoice_coupons": [{"coupon_id": made["coupon"]}]}),
        Call("createInvoice", body={**invoice, "line_item_coupons": [on_line]}),
        Call("computeInvoice", {"id": draft}, body={"line_items": [charge], "subtotal": "100"}),
        Call("computeInvoice", {"id": draft}, body={"invoice_coupons": [{"coupon_id": made["coupon"]}]}),
        Call("computeInvoice", {"id": draft}, body={"line_item_coupons": [on_line]}),
        Call(
            "executeInvoiceModify",
            {"id": made["draft"]},
            body={"type": "line_item", "line_item_params": {"action": "remove", "line_item_ids": []}},
        ),
        Call(
            "executeInvoiceModify",
            {"id": made["draft"]},
            body={"type": "line_item", "line_item_params": {"action": "update", "update": {"amount": "1"}}},
        ),
        subscribing(),
        subscribing(addons=[addon]),
        subscribing(line_items=[{"price_id": price}]),
        subscribing(line_items=[{"price": own_price}]),
        subscribing(override_entitlements=[{"entitlement_id": made["entitlement"], "is_enabled": False}]),
        subscribing(override_line_items=[override]),
        subscribing(subscription_coupons=[{"coupon_code": "TOURCOUPON"}]),
        subscribing(phases=[phase]),
        subscribing(phases=[{**phase, "line_items": [{"price_id": price}]}]),
        subscribing(phases=[{**phase, "override_line_items": [override]}]),
        subscribing(phases=[{**phase, "subscription_coupons": [{"coupon_code": "TOURCOUPON"}]}]),
        subscribing(inheritance={}),
        subscribing(
            inheritance={
                "grouped_invoicing_children_to_create": [
                    {"external_customer_id": "tour-leaving", "plan_id": made["plan"]}
                ]
            }
        ),
        Call("createSubscriptionLineItem", {"id": subscription}, body={"price_id": price}),
        Call("createSubscriptionLineItem", {"id": subscription}, body={"price": own_price}),
        Call("previewSubscriptionLineItem", {"id": subscription}, body={"price": own_price}),
        Call("updateSubscriptionLineItem", {"id": made["usage line"]}, body={}),
        Call("previewSubscriptionLineItemUpdate", {"id": made["usage line"]}, body={}),
        Call("createCustomer", body={"external_id": "walk", "name": "Walk", "integration_entity_mapping": [mapping]}),
        Call("updateCustomer", query={"id": customer}, body={"integration_entity_mapping": [mapping]}),
        Call("updateCustomerById", {"id": customer}, body={"integration_entity_mapping": [mapping]}),
        Call(
            "previewCreditNote",
            body={
                "invoice_id": made["invoice"],
                "reason": "BILLING_ERROR",
                "line_items": [{"invoice_line_item_id": made["invoice line"], "amount": "1"}],
            },
        ),
        Call(
            "allocateUnappliedMoney",
            {"id": customer},
            body={"currency": "usd", "allocations": [{"invoice_id": made["invoice"], "amount": "1"}]},
        ),
        Call("addSubscriptionAddon", body={**addon, "subscription_id": subscription}),
        *modifying("addon", action="add", add={"addon_id": made["addon"]}),
        *modifying("addon", action="remove", remove={}),
        *modifying("coupon", action="add", coupon_code="TOURCOUPON"),
        *modifying("coupon", action="remove"),
        *modifying("grouped_invoicing", action="add"),
        *modifying("tax", action="add"),
        *modifying("tax", action="remove"),
        *modifying(
            "line_item_change",
            line_items=[{"id": line, "amount": "12", "coupons": [{"coupon_code": "TOURCOUPON"}]}],
        ),
        *modifying("line_item_change", id=line, amount="12", coupons=[{"coupon_code": "TOURCOUPON"}]),
        Call("removeSubscriptionAddon", body={}),
        Call("updateSubscription", {"id": subscription}, body={}),
        Call("cancelSubscriptionScheduleBy", body={}),
        Call("createApiKey", body={"name": "walk", "type": "private_key"}),
        Call("cloneEnvironment", {"id": "ENVIRONMENT"}, body={}),
        Call("createFeature", body={"name": "Walk", "type": "boolean", "lookup_key": "walk"}),
        Call("syncIntegration", body={"entity_type": "customer", "entity_id": customer, "provider_type": "stripe"}),
        Call("createFXRate", body={**rate, "scope": "customer", "scope_id": customer}),
        Call(
            "createCheckoutSession",
            body={
                "customer_external_id": "tour-acme",
                "action": "create_subscription",
                "payment_provider": "stripe",
                "configuration": {
                    "create_subscription_params": {
                        "plan_id": made["plan"],
                        "currency": "usd",
                        "billing_period": "MONTHLY",
                    }
                },
            },
        ),
        Call("createTaxAssociation", body={"tax_rate_code": TAX_CODE, "entity_type": "customer"}),
        Call("getUsageStatistics", body={"event_name": "tour.call", "aggregation_type": "COUNT"}),
        Call("getUsageByMeter", body={"meter_id": made["meter"]}),
        Call("updatePrice", {"id": price}, body={}),
        Call("updatePayment", {"id": made["payment"]}, body={}),
        Call("getUsageAnalytics", body={"external_customer_id": "tour-acme"}),
        Call("getDetailedCostAnalytics", body={"external_customer_id": "tour-acme"}),
        Call("executeSubscriptionChange", {"id": subscription}, body=_changing(made)),
        *(
            Call(operation, {"id": subscription}, body={**_changing(made), "line_items": [{"quantity": "2"}]})
            for operation in ("executeSubscriptionChange", "previewSubscriptionChange")
        ),
        *(
            Call(operation, {"id": subscription}, body={**onto, "line_items": [{"quantity": "2"}]})
            for operation in ("executeSubscriptionPlanChangeV2", "previewSubscriptionPlanChangeV2")
        ),
    ]


def _changing(made: Made) -> dict[str, Any]:
    return {
        "target_plan_id": made["larger plan"],
        "proration_behavior": "none",
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_cycle": "anniversary",
    }


Path = tuple[str | int, ...]


def named_by(endpoint: Endpoint) -> list[Path]:
    """Where a body of the route names something by its id."""
    assert endpoint.body is not None
    found = {tuple(path) for path, _ in fields(endpoint.body)}
    return sorted(
        (path for path in found if str(path[-1]).endswith(("_id", "_ids")) and path[-1] not in NAME_NOTHING_HERE),
        key=str,
    )


def holder(body: Any, path: Path) -> Any:
    """The object of `body` that holds the last step of `path`; None if the body has no such object."""
    for step in path[:-1]:
        if isinstance(step, int):
            if not isinstance(body, list) or not body:
                return None
            body = body[step]
        else:
            body = body.get(step) if isinstance(body, dict) else None
    return body if isinstance(body, dict) else None


ALTERNATIVES = {"price_id": ("price",), "id": ("line_items",), "external_customer_id": ("customer_id",)}
"""What has to go when a field is given in its place."""


def with_id(call: Call, path: Path, id: str) -> Call | None:
    """`call` with `id` at `path`; None if it has no place for it."""
    body = copy.deepcopy(call.body)
    place = holder(body, path)
    if place is None:
        return None
    field = str(path[-1])
    for other in ALTERNATIVES.get(field, ()):
        place.pop(other, None)
    place[field] = [id] if field.endswith("_ids") else id
    return Call(call.operation, call.path, call.query, _renamed(body))


def _renamed(value: Any) -> Any:
    """Without the unique names of the tour, which exist already."""
    if isinstance(value, dict):
        return {key: f"walk-{item}" if key in {"lookup_key", "code"} else _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def is_refused_by_name(answer: httpx.Response, path: Path, id: str) -> bool:
    return answer.status_code in {400, 404} and (id in answer.text or str(path[-1]) in answer.text)


async def test_an_id_of_another_tenant_is_refused_in_every_field(
    account: Account, stranger: Account, sockets: str
) -> None:
    go, recorder = OverHttp(account), Recorder()
    made = await build(go)
    for step in (read, change, end):
        await step(recorder, made)
    usage_line = Call("createSubscriptionLineItem", {"id": made["subscription"]}, body={"price_id": made["bulk price"]})
    made["usage line"] = (await go(usage_line))["id"]
    foreign = await build(OverHttp(stranger))
    cases: defaultdict[str, list[Call]] = defaultdict(list)
    for call in [*cases_beside_the_tour(made), *(call for call, _ in go.made), *recorder.asked]:
        filled = {name: account.environment_id if id == "ENVIRONMENT" else id for name, id in call.path.items()}
        cases[call.operation].append(Call(call.operation, filled, call.query, call.body))
    problems: list[str] = []
    with Books(sockets, account) as books:
        before = books.state()
        for endpoint in ENDPOINTS:
            if endpoint.body is None or endpoint.path.endswith(("/search", "/forex/query")):
                continue
            for path in named_by(endpoint):
                if (endpoint.id, str(path[-1])) in EXCEPTIONS or NOT_REACHED.keys() & set(path):
                    continue
                id = foreign.get(OF_A_STRANGER.get(str(path[-1]), ""), OF_NOBODY)
                tried = [named for call in cases[endpoint.id] if (named := with_id(call, path, id))]
                answers = [await send(account.http, call) for call in tried]
                if not any(is_refused_by_name(answer, path, id) for answer in answers) or not all(
                    answer.is_client_error for answer in answers
                ):
                    said = " | ".join(f"{answer.status_code} {answer.text[:300]}" for answer in answers)
                    problems.append(f"{endpoint.id} {'.'.join(map(str, path))}: {said or 'no case has a place for it'}")
            after = books.state()
            if after != before:
                problems.append(f"{endpoint.id} changed {[table for table in after if after[table] != before[table]]}")
                before = after
    assert not problems, "\n".join(problems)


def test_every_exception_is_a_field_that_exists() -> None:
    for operation, field in EXCEPTIONS:
        assert field in {path[-1] for path in named_by(BY_ID[operation])}
