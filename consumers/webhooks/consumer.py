"""payments and owners' wishes → webhooks → (by the sender) the owners' own services"""

from __future__ import annotations

from consumers.webhooks import store
from consumers.webhooks.decide import Endpoints, Heard, decide
from consumers.webhooks.trimming import trim
from topics.catalog import WEBHOOKS_ROOM
from topics.runtime.shape.consumer import Consumer
from topics.settings import Settings


def build(settings: Settings) -> Consumer[Endpoints, Heard]:
    return Consumer(WEBHOOKS_ROOM, load=store.load, decide=decide, save=store.save, trim=trim)
