"""A provider's handler: takes messages from the portal, sends them, and reports their statuses.

``B24_APPLICATION_TOKEN=… uvicorn fastapi_handler:app``
"""

from __future__ import annotations

import logging
import os

from b24_messageservice import B24Error, Client, Status
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from portal_post import Forged, Message, read
from settings import options

app = FastAPI()


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
    # A plain function: it runs in a worker thread, where blocking is fine.
    background.add_task(deliver, message)
    return {"accepted": message.message_id}


def deliver(message: Message) -> None:
    """Sends a message, and reports the outcome with the token that came with it."""
    status = Status.DELIVERED if send(message.to, message.text) else Status.UNDELIVERED
    extra = options("ca_file", "proxy", "resolve")
    # Making a client takes microseconds: connections belong to the process.
    with Client(message.portal, access_token=message.access_token, **extra) as client:  # type: ignore[arg-type]
        try:
            client.message_status_update(message.code, message.message_id, status)
        except B24Error as error:
            logging.exception(
                "the status of %s was not reported: %s", message.message_id, error.code
            )


def send(to: str, text: str) -> bool:
    """Replace this with your gateway."""
    return bool(to and text)
