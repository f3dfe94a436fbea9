"""payments, pay-outs, webhook endpoints → webhooks → deliveries → (by the sender) the owners' services"""

from __future__ import annotations

import threading

from consumers.webhooks import store
from consumers.webhooks.decide import Endpoints, WebhookEvent, decide
from consumers.webhooks.sender import run_sender
from consumers.webhooks.trimming import trim
from topics.catalog import WEBHOOKS_ROOM
from topics.runtime.shape.consumer import AnyConsumer, Consumer
from topics.settings import Settings


def build(settings: Settings) -> Consumer[Endpoints, WebhookEvent]:
    side_tasks = {"webhook sender": _send}
    return Consumer(WEBHOOKS_ROOM, load=store.load, decide=decide, save=store.save, trim=trim, side_tasks=side_tasks)


def _send(settings: Settings, _: AnyConsumer, stop: threading.Event, __: threading.Event) -> None:
    """The sender polls for due deliveries: it needs neither the room nor its wake-ups."""
    run_sender(settings, stop)
