"""A provider's handler without a store: takes messages from portals, sends them, and reports their
statuses.

``B24_APPLICATION_TOKEN=… uvicorn fastapi_handler:app``

Statuses that are not reported yet are in memory only; ``fastapi_provider.py`` keeps them on disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from b24_messageservice import AsyncClient, B24Error, Status
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from portal_post import Forged, Message, read

# What is to be reported to each portal, and the task that does it. A portal that does not answer,
# or whose rate limit is used up, holds one thread of its own, and delays no other.
due: dict[str, list[tuple[Message, Status]]] = {}
reporting: dict[str, asyncio.Task[None]] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Reports what is left before the program ends."""
    yield
    await asyncio.gather(*reporting.values())


app = FastAPI(lifespan=lifespan)


@app.post("/handler")
async def handler(request: Request, background: BackgroundTasks) -> dict[str, str]:
    """Accepts a message. The portal waits for the answer, so answer first and send then."""
    content_type = request.headers.get("content-type", "")
    try:
        message = read(await request.body(), content_type, os.environ["B24_APPLICATION_TOKEN"])
    except Forged:
        raise HTTPException(403) from None
    except (KeyError, ValueError):
        raise HTTPException(400, "not a message of messageservice") from None
    background.add_task(deliver, message)
    return {"accepted": message.message_id}


async def deliver(message: Message) -> None:
    """Sends a message, and lets its portal's task report the outcome."""
    is_sent = await run_in_threadpool(send, message.to, message.text)
    status = Status.DELIVERED if is_sent else Status.UNDELIVERED
    due.setdefault(message.portal, []).append((message, status))
    if message.portal not in reporting:
        reporting[message.portal] = asyncio.create_task(report(message.portal))


async def report(portal: str) -> None:
    """Reports to one portal while there is something to report: 50 statuses are one request."""
    while statuses := due.pop(portal, None):
        batch, later = statuses[:50], statuses[50:]
        if later:
            due[portal] = later
        # The token that came with the newest message is valid longest. Making a client costs
        # little: connections and the rate limit belong to the process. What is the same for all
        # portals may be in the environment: B24_CA_FILE, B24_PROXY, B24_RATE_LIMIT and so on.
        token = batch[-1][0].access_token
        try:
            async with AsyncClient.from_env(portal, access_token=token, max_threads=1) as client:
                outcomes = await client.message_status_update_batch(
                    [(message.code, message.message_id, status) for message, status in batch]
                )
        except B24Error as fault:
            outcomes = [fault] * len(batch)
        for (message, _), error in zip(batch, outcomes):
            if error is not None:
                logging.error("the status of %s was not reported: %s", message.message_id, error)
    del reporting[portal]


def send(to: str, text: str) -> bool:
    """Replace this with your gateway."""
    return bool(to and text)
