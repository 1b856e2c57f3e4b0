"""A billing office in the words of credit grants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farthing.billing.clock.advance import Clockwork
from farthing.credits.grants.proof import grant_differences
from farthing.credits.grants.sweep import GrantSweep, SweepSummary
from farthing.credits.reads.derivation import ledger_differences
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed

Body = dict[str, Any]
MONTHLY = {
    "name": "Monthly credits",
    "credits": "100",
    "cadence": "RECURRING",
    "period": "MONTHLY",
    "period_count": 1,
    "expiration_type": "NEVER",
}
ONCE = {"name": "Welcome", "credits": "25", "cadence": "ONETIME", "expiration_type": "NEVER"}


@dataclass
class GrantingOffice(Office):
    """`moved` lets the test clock do everything that is due; `swept` runs the duty of grants alone."""

    async def grant(self, owner: Mapping[str, Any], expect: int = 201, **terms: Any) -> Body:
        """A grant of a plan, an addon or a subscription, which its id tells."""
        scope = {"plan": "PLAN", "addon": "ADDON", "subs": "SUBSCRIPTION"}[owner["id"].split("_")[0]]
        body = {**MONTHLY, "scope": scope, f"{scope.lower()}_id": owner["id"], **terms}
        made: Body = await self.account.post("/creditgrants", body, expect=expect)
        return made

    async def granting_plan(self, **terms: Any) -> Body:
        """A plan of 10 a month that comes with a grant."""
        plan = await self.plan(fixed("10"))
        await self.grant(plan, **terms)
        return plan

    async def started(self, moment: str, plan: Mapping[str, Any] | None = None, **more: Any) -> Body:
        """A subscription that is made, and begins, on a day; on a granting plan unless another is given."""
        await self.on(moment)
        return await opened(self, plan or await self.granting_plan(), **more)

    async def moved(self, moment: str) -> None:
        """Let the clock come to a time, and do all that is due on the way."""
        await Clockwork(self.account.database, self.account.scope).move(at(moment))
        self.now = at(moment)

    async def swept(self, moment: str | None = None, **how: Any) -> SweepSummary:
        if moment is not None:
            await self.on(moment)
        return await GrantSweep(self.account.database, self.account.scope, self.now, **how).run()

    async def applications(self, subscription: Mapping[str, Any]) -> list[Body]:
        """All applications of a subscription's grants, by grant and period."""
        shown = await self.account.get("/creditgrants", subscription_ids=subscription["id"], limit=1000)
        rows = []
        for grant in sorted(shown["items"], key=lambda one: one["id"]):
            page = await self.account.get(f"/creditgrants/{grant['id']}/applications", limit=1000)
            rows += sorted(page["items"], key=lambda one: one["period_start"])
        return rows

    async def became(self, subscription: Mapping[str, Any]) -> list[str]:
        """What each application came to: `01-31 applied 100`."""
        return [
            f"{row['period_start'][5:10]} {row['application_status']} {row['credits']}"
            for row in await self.applications(subscription)
        ]

    async def wallet(self, customer_id: str) -> Body | None:
        """The customer's wallet, if there is one."""
        wallets = await self.account.get(f"/customers/{customer_id}/wallets")
        return wallets[0] if wallets else None

    async def balance(self, subscription: Mapping[str, Any]) -> str:
        wallet = await self.wallet(subscription["customer_id"])
        return "none" if wallet is None else str(wallet["credit_balance"])

    async def lots(self, subscription: Mapping[str, Any]) -> list[Body]:
        """What was granted to the subscription's customer, oldest first."""
        wallet = await self.wallet(subscription["customer_id"])
        assert wallet is not None
        page = await self.account.get(f"/wallets/{wallet['id']}/transactions", limit=1000)
        return [row for row in page["items"][::-1] if row["transaction_reason"] == "SUBSCRIPTION_CREDIT_GRANT"]

    async def differences(self) -> list[Any]:
        """What the doctor would find."""
        async with self.account.transaction(read_only=True) as session:
            return [*await grant_differences(session), *await ledger_differences(session)]
