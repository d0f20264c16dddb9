"""Reports statuses from Celery workers: ``celery -A celery_worker worker``.

Workers fork after this module is imported. The client made here works in each of them: parent and
children never share a connection. With B24_STATE_DIR set they share the renewed tokens and the
portal's rate limit.
"""

from __future__ import annotations

import os
from typing import Any

from b24_messageservice import B24Error, Client, renewals_wait
from celery import Celery
from celery.signals import worker_process_shutdown

app = Celery("receipts", broker=os.environ.get("CELERY_BROKER", "memory://"))
client = Client.from_env()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def finish(**_: Any) -> None:
    """A renewal may take longer than its call, and these processes end without exit handlers."""
    renewals_wait(45)


@app.task(bind=True, max_retries=10)  # type: ignore[untyped-decorator]
def report(task: Any, code: str, message_id: str, status: str) -> None:
    """Reports a status. If the error is retryable, the task is run again later."""
    try:
        client.message_status_update(code, message_id, status)
    except B24Error as error:
        if not error.retryable:
            raise
        # The call has already retried for a while: this is for portals that are down for longer.
        raise task.retry(exc=error, countdown=error.retry_after or 60) from error
