"""An activity in plain words: what was done to what, by whom, and what each value was before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from urllib.parse import quote

from markupsafe import Markup

from farthing.notifications.activity.schemas import ActivityResponse
from farthing.web.rendering.words.wording import words, zoned_moment

MOST_FIELDS_IN_TITLE = 2
_VERBS: Mapping[str, str] = MappingProxyType(
    {
        "update": "changed",
        "updated": "changed",
        "create.drafted": "drafted",
        "update.finalized": "finalized",
        "update.payment": "payment recorded",
        "update.voided": "voided",
        "payment.overdue": "became overdue",
        "communication.triggered": "asked to be sent",
        "renewal.due": "is about to renew",
        "draft.created": "drafted",
        "success": "succeeded",
    }
)
_SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "api": "through the API",
        "dashboard": "in the dashboard",
        "portal": "in the portal",
        "worker": "in the background",
        "cli": "at the command line",
        "webhook": "reported by the provider",
        "import": "with an import",
    }
)
_PAGES: Mapping[str, str] = MappingProxyType(
    {
        "customer": "/customers/",
        "invoice": "/invoices/",
        "subscription": "/subscriptions/",
        "wallet": "/wallets/",
        "credit_note": "/credit-notes/",
        "payment": "/payments/",
        "plan": "/catalogue/plans/",
    }
)
_LISTS: Mapping[str, str] = MappingProxyType(
    {
        "api_key": "/keys",
        "checkout_session": "/checkouts",
        "tenant": "/company",
        "user": "/team",
        "webhook_endpoint": "/webhooks",
    }
)


def what_happened(activity: ActivityResponse) -> str:
    """ "Due date changed", "Finalized", "3 fields changed": of the entity, without its name."""
    entity = activity.entity.type
    verb = activity.action.partition(".")[2]
    if entity.count("_") and activity.action.startswith(entity.replace("_", ".") + "."):
        verb = activity.action.removeprefix(entity.replace("_", ".") + ".")
    after = {str(change["field"]): change.get("after") for change in activity.changes or ()}
    fields = list(after)
    if "written_off_at" in after:
        return "Written off" if after["written_off_at"] else "Write-off undone"
    if verb in {"update", "updated"} and fields:
        if len(fields) > MOST_FIELDS_IN_TITLE:
            return f"{len(fields)} fields changed"
        return words(" and ".join(fields)) + " changed"
    if verb == "update.payment" and "adjustment_amount" in fields and "amount_paid" not in fields:
        return "Credited"
    return words(_VERBS.get(verb, verb.replace(".", " ")))


def is_named_in_title(activity: ActivityResponse) -> bool:
    """Whether `what_happened` says already which one field changed."""
    changes = activity.changes or ()
    return len(changes) == 1 and what_happened(activity) == words(str(changes[0]["field"])) + " changed"


def kind_of(activity: ActivityResponse) -> str:
    """ "Invoice", "API key"."""
    kind = activity.entity.type
    return words(kind) if kind != "api_key" else "API key"


def who_did_it(activity: ActivityResponse) -> str:
    """ "Ada", "billing run": as it was called then; what was recorded before actors were has nobody."""
    return activity.actor.label if activity.actor is not None else "unknown"


def from_where(activity: ActivityResponse) -> str:
    """ "in the dashboard"."""
    return _SOURCES.get(activity.source or "", "")


def page_of(activity: ActivityResponse) -> str | None:
    """Where the entity is shown; None for what has no page."""
    entity = activity.entity
    if entity.type == "setting":
        return f"/settings/{quote(entity.label, safe='')}"
    if entity.type in _PAGES:
        return _PAGES[entity.type] + quote(entity.id, safe="")
    return _LISTS.get(entity.type)


def moment_of(activity: ActivityResponse, zone: str = "UTC") -> Markup | str:
    """When it happened."""
    return zoned_moment(datetime.fromisoformat(activity.occurred_at), zone)
