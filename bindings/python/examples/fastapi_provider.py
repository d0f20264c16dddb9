"""A provider's web service: what portals post, and the operator's receipts.

``uvicorn fastapi_provider:app`` takes them, in any number of processes. They only store receipts;
``python fastapi_provider.py`` sends them to the portals. At least one such process must run, and
there may be several.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from b24_messageservice import (
    AccessDenied,
    AsyncProvider,
    B24Error,
    InvalidArgument,
    Provider,
    Request,
    Status,
)
from fastapi import BackgroundTasks, Body, FastAPI, Header, HTTPException
from fastapi import Request as WebRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from gateway import STATES, is_the_operator, send

# Its calls have threads of their own, and take none of those that serve requests.
provider = AsyncProvider.from_env()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The provider is open as long as the program serves requests."""
    async with provider:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/handler")
async def handler(request: WebRequest, background: BackgroundTasks) -> dict[str, str]:
    """Takes what a portal posts: messages, and the events of the application."""
    posted = await received(request)
    if posted.kind == "message":
        await deliver(posted)
    elif posted.kind == "install":
        # The portal waits for this answer, so it cannot be asked for anything before.
        background.add_task(register, posted.member_id)
    return {"accepted": posted.kind}


@app.post("/wizard", response_class=HTMLResponse)
async def wizard(request: WebRequest, background: BackgroundTasks) -> str:
    """The page of the installation wizard. No other page may install."""
    frame = await received(request)
    await provider.install_request(frame)
    background.add_task(register, frame.member_id)
    return "Installed."


@app.post("/receipts")
async def receipts(
    message: str = Body(),
    state: str = Body(),
    at: float | None = Body(None),
    authorization: str = Header(""),
) -> None:
    """Takes a receipt of the operator: the id that ``send`` returned, a state, and the time."""
    if not is_the_operator(authorization):
        raise HTTPException(401)
    # The operator's answer is "accepted" only after this has stored the receipt durably.
    await provider.report_reference(message, STATES.status(state), at)


@app.exception_handler(B24Error)
def refused(_: WebRequest, error: Exception) -> JSONResponse:
    """Who posted learns whether to post it again."""
    if isinstance(error, AccessDenied):
        status = 403
    elif isinstance(error, InvalidArgument):
        status = 400
    else:
        logging.error("answered with 503: %s", error)
        status = 503
    return JSONResponse({"error": str(error)}, status)


async def received(request: WebRequest) -> Request:
    """The portal's request, read and checked, for which other servers may be asked."""
    content_type = request.headers.get("content-type", "")
    body = await request.body()
    return await provider.receive(content_type, body)


async def deliver(message: Request) -> None:
    """Gives a message to the operator, and remembers the operator's id of it."""
    code, message_id = message["code"], message["message_id"]
    try:
        # The operator's library blocks.
        reference = await run_in_threadpool(send, message["message_to"], message["message_body"])
    except ConnectionError:
        await provider.report(message.member_id, code, message_id, Status.FAILED)
        return
    await provider.track(reference, message.member_id, code, message_id)
    await provider.report(message.member_id, code, message_id, Status.SENT)


async def register(member_id: str) -> None:
    """Makes the provider known to the users of a portal that has installed the application."""
    client = await provider.client(member_id)
    if "provider1" in await client.sender_list():
        await client.sender_update("provider1", handler=os.environ["HANDLER_URL"])
    else:
        await client.sender_add("provider1", os.environ["HANDLER_URL"], "Provider One")


def drain() -> None:
    """Sends receipts to the portals until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.INFO)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with Provider.from_env() as provider:
        while not stopping.is_set():
            try:
                # Short, so that it ends soon after SIGTERM.
                drained = provider.drain(5)
            except B24Error as error:
                # The store cannot be used at present. What is in it stays there.
                logging.error("nothing is sent: %s", error)
                stopping.wait(5)
                continue
            if drained.sent or drained.refused:
                logging.info("%s", drained)


if __name__ == "__main__":
    drain()
