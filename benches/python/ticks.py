"""How long the loop of asyncio is blocked while calls are made: the longest delay of a timer.

    ticks.py OPTIONS PROVIDER_OPTIONS INSTALLATION    # as JSON; the last is a portal's request

A task ticks each millisecond. Prints by how many milliseconds the latest tick of each phase came
late, and how many updates and receipts were sent and stored. "rest" is the machine alone. Where it
may, the process goes before all others, so that the work of others counts less.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from b24_messageservice import AsyncClient, AsyncProvider

CALLS, BATCH = 200, 10_000


class Ticker:
    """Ticks in the loop, and remembers the longest delay of each phase."""

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self._name = ""

    @asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[None]:
        # What this program itself did before is no part of it.
        await asyncio.sleep(0.02)
        self.latest[name] = 0.0
        self._name = name
        yield
        # What was blocked at the end shows at the next tick.
        await asyncio.sleep(0.02)
        self._name = ""

    async def tick(self) -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            late = (time.perf_counter() - due) * 1000
            if self._name:
                self.latest[self._name] = max(self.latest[self._name], late)


async def main(options: Any, provider_options: Any, installation: Any) -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.tick())
    async with ticker.phase("rest"):
        await asyncio.sleep(0.5)
    client = AsyncClient(**options)
    async with ticker.phase("open a client"):
        await client.open()
    async with ticker.phase(f"{CALLS} calls"):
        calls = (client.message_status_update("provider1", f"one{n}", "sent") for n in range(CALLS))
        ends = await asyncio.gather(*calls)
    updates = [("provider1", f"m{number}", "sent") for number in range(BATCH)]
    async with ticker.phase(f"a batch of {BATCH}"):
        outcomes = await client.message_status_update_batch(updates)
    async with ticker.phase("close the client"):
        await client.close()
    provider = AsyncProvider(**provider_options)
    async with ticker.phase("open a provider"):
        await provider.open()
    request = await provider.receive(installation["content_type"], installation["body"])
    receipts = [(request.member_id, *update) for update in updates]
    async with ticker.phase(f"{CALLS} reports"):
        stores = (provider.report(*receipt) for receipt in receipts[:CALLS])
        stored = await asyncio.gather(*stores)
    async with ticker.phase(f"report_many of {BATCH}"):
        many = await provider.report_many(receipts)
    async with ticker.phase("close the provider"):
        await provider.close()
    ticking.cancel()
    counts = {
        "calls": ends.count(None),
        "batch": outcomes.count(None),
        "reports": stored.count(None),
        "report_many": many.count(None),
    }
    print(json.dumps({"latest_ms": ticker.latest, "counts": counts}))


if __name__ == "__main__":
    asyncio.run(main(*map(json.loads, sys.argv[1:4])))
