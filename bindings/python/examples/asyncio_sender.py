"""Reports statuses from asyncio: receipts come from a queue, and go out in batches.

For the portal's rate limit a batch of 50 statuses is one request.
"""

from __future__ import annotations

import asyncio
import sys

from b24_messageservice import AsyncClient

Receipt = tuple[str, str, str]


async def reporter(client: AsyncClient, receipts: asyncio.Queue[Receipt | None]) -> int:
    """Reports what comes from the queue, until None comes. Returns how many were applied."""
    applied = 0
    while (receipt := await receipts.get()) is not None:
        batch = [receipt]
        while len(batch) < 50 and not receipts.empty():
            following = receipts.get_nowait()
            if following is None:
                receipts.put_nowait(None)
                break
            batch.append(following)
        outcomes = await client.message_status_update_batch(batch)
        for (_, message_id, _), error in zip(batch, outcomes):
            if error is not None:
                print(f"{message_id}: {error}", file=sys.stderr)
        applied += outcomes.count(None)
    return applied


async def main() -> None:
    """Reads ``CODE MESSAGE_ID STATUS`` lines from standard input."""
    receipts: asyncio.Queue[Receipt | None] = asyncio.Queue()
    async with AsyncClient.from_env() as client:
        reporting = asyncio.create_task(reporter(client, receipts))
        while line := await asyncio.to_thread(sys.stdin.readline):
            code, message_id, status = line.split()
            receipts.put_nowait((code, message_id, status))
        receipts.put_nowait(None)
        print(f"{await reporting} applied")


if __name__ == "__main__":
    asyncio.run(main())
