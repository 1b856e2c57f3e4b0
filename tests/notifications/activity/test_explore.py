from collections import defaultdict
from typing import Any

from sqlalchemy import select

from farthing.storage.outbox import SystemEvent
from tests.account import Account
from tests.api.tour import Call, OverHttp, build, change, end, read


class Watched(OverHttp):
    def __init__(self, account):
        super().__init__(account)
        self.requests = []

    async def __call__(self, call: Call) -> Any:
        answer = await super().__call__(call)
        self.requests.append((call, self.last.headers["x-request-id"]))
        return answer


async def test_explore(account: Account) -> None:
    go = Watched(account)
    made = await build(go)
    await read(go, made)
    await change(go, made)
    await end(go, made)
    async with account.transaction(read_only=True) as session:
        rows = (
            await session.execute(
                select(
                    SystemEvent.request_id,
                    SystemEvent.event_name,
                    SystemEvent.entity_id,
                    SystemEvent.is_echo,
                    SystemEvent.changes,
                    SystemEvent.entity_label,
                    SystemEvent.customer_id,
                    SystemEvent.state,
                ).order_by(SystemEvent.id)
            )
        ).all()
    by = defaultdict(list)
    for r in rows:
        by[r.request_id].append(r)
    import json

    with open("/tmp/explore.txt", "w") as f:
        for call, rid in go.requests:
            print(call.operation, file=f)
            for r in by.pop(rid, []):
                print(
                    "     ",
                    "echo" if r.is_echo else "    ",
                    r.event_name,
                    r.entity_id,
                    repr(r.entity_label),
                    r.customer_id,
                    json.dumps(r.changes)[:600],
                    "STATE" if r.state else "",
                    file=f,
                )
        print("REST", file=f)
        for k, rs in by.items():
            for r in rs:
                print("     ", k, r.event_name, r.entity_id, r.state, file=f)
