"""A provider's work in Celery tasks: ``celery -A celery_provider worker --beat``.

The web handler calls ``posted`` and ``receipt.delay``. Messages and receipts are tasks, and another
one, which beat starts every two seconds, sends the receipts to the portals.

The provider is made at import, before workers fork, and works in each of them. Other worker
processes, on other machines too if the store is PostgreSQL, share the work.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from b24_messageservice import B24Error, Provider, Status, renewals_wait
from celery import Celery
from celery.signals import worker_process_shutdown
from gateway import STATES, send

app = Celery("provider", broker=os.environ.get("CELERY_BROKER", "memory://"))
app.conf.beat_schedule = {
    # A round that nobody could begin before the next one is dropped.
    "drain": {"task": "celery_provider.drain", "schedule": 2.0, "options": {"expires": 2.0}}
}

provider = Provider.from_env()


def posted(content_type: str, body: bytes) -> None:
    """For the web handler of what portals post. Answer 400 to InvalidArgument, 403 to AccessDenied.

    The request is checked here and not in a task, because the portal needs the answer. The message
    alone goes to the broker, without the tokens that came with it.
    """
    request = provider.receive(content_type, body)
    if request.kind == "message":
        fields = ("code", "message_id", "message_to", "message_body")
        deliver.delay(request.member_id, *(request[name] for name in fields))


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def finish(**_: Any) -> None:
    """A renewal may take longer than its call, and these processes end without exit handlers."""
    renewals_wait(45)
    provider.close()


@app.task  # type: ignore[untyped-decorator]
def deliver(member_id: str, code: str, message_id: str, to: str, text: str) -> None:
    """Gives a message to the operator, and remembers the operator's id of it.

    Celery does not do it again if the worker is killed: the message could arrive twice.
    """
    try:
        reference = send(to, text)
    except ConnectionError:
        provider.report(member_id, code, message_id, Status.FAILED)
        return
    provider.track(reference, member_id, code, message_id)
    provider.report(member_id, code, message_id, Status.SENT)


# Done again if the worker is killed: the same receipt twice is harmless.
@app.task(  # type: ignore[untyped-decorator]
    bind=True, max_retries=None, acks_late=True, reject_on_worker_lost=True
)
def receipt(task: Any, reference: str, state: str, at: float) -> None:
    """Keeps a receipt of the operator: the id that ``send`` returned, a state, Unix seconds.

    The time is told, since the task may wait in the broker while a later receipt is kept.
    """
    try:
        provider.report_reference(reference, STATES.status(state), at)
    except B24Error as error:
        if not error.retryable:
            raise
        raise task.retry(exc=error, countdown=error.retry_after or 10) from error


@app.task  # type: ignore[untyped-decorator]
def drain() -> dict[str, Any]:
    """Sends receipts. The next round goes on where this one ends."""
    return asdict(provider.drain(1.5))
