"""Reports statuses from asyncio: receipts come from a queue, and go out in batches.

Calls block a thread, not the loop: ``asyncio.to_thread``. Batches cost the portal's rate limit one
request for 50 statuses.
"""

from __future__ import annotations

import asyncio
import os
import sys

from b24_messageservice import Client
from settings import options

Receipt = tuple[str, str, str]


async def reporter(client: Client, receipts: asyncio.Queue[Receipt | None]) -> int:
    """Reports everything that the queue holds until None comes; how many were applied."""
    applied = 0
    while (receipt := await receipts.get()) is not None:
        batch = [receipt]
        while len(batch) < 50 and not receipts.empty():
            following = receipts.get_nowait()
            if following is None:
                receipts.put_nowait(None)
                break
            batch.append(following)
        fates = await asyncio.to_thread(client.message_status_update_batch, batch)
        for (_, message_id, _), fate in zip(batch, fates):
            if fate is not None:
                print(f"{message_id}: {fate}", file=sys.stderr)
        applied += fates.count(None)
    return applied


async def main() -> None:
    """Reads ``CODE MESSAGE_ID STATUS`` lines from standard input."""
    receipts: asyncio.Queue[Receipt | None] = asyncio.Queue()
    with Client(os.environ["B24_PORTAL"], **options()) as client:  # type: ignore[arg-type]
        reporting = asyncio.create_task(reporter(client, receipts))
        while line := await asyncio.to_thread(sys.stdin.readline):
            code, message_id, status = line.split()
            receipts.put_nowait((code, message_id, status))
        receipts.put_nowait(None)
        print(f"{await reporting} applied")


if __name__ == "__main__":
    asyncio.run(main())
