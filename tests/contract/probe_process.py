"""What a process of the probe does. It reads what it is to apply from `<home>/messages`, where it is not Kafka."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from operations.stack.host import serve
from operations.stack.settings import load_settings
from reconciliation import app, file_rows, host, reader, watermark
from tests.contract import probe, sabotage
from tests.contract.rooms import EXECUTIONS
from topics.catalog import Room
from topics.runtime.delivery.apply import apply
from topics.runtime.delivery.drain import drain
from topics.runtime.outbox import latest, outbox
from topics.runtime.outbox.outbox import Publisher
from topics.runtime.process.kafka_loop import RoomLoop
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import Message
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import Store
from topics.settings import Settings

BATCH = 5
SESSION_S = 2.0  # in place of 6: of processes with Faust


def run(work: str, build: str, sweep_after_s: float) -> None:
    """`loop`, `busy loop`, `stream`, `apply` or a room, of the build with that sabotage. Never returns."""
    status = 1
    try:
        sabotage.BUILDS[build]()
        outbox.SWEEP_AFTER_S = sweep_after_s
        latest.LEASE_S = 4  # s, in place of 10: the heirs of the killed wait for it, as for the session of 3 here
        status = _WORK.get(work, partial(run_room, name=work))(load_settings()) or 0
    except BaseException:
        traceback.print_exc()  # in the settings' probe.log
    finally:
        os._exit(status)  # whatever threads are left


def run_loop(settings: Settings, room: Room = probe.ROOM) -> None:
    """A process as in production, until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    RoomLoop(settings, probe.build(room=room), stop).run()


def run_stream(settings: Settings) -> None:
    """The same for what comes through Faust."""
    app.SESSION_S = SESSION_S
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    host.StreamLoop(settings, probe.build_streamed(), stop).run()


def run_room(settings: Settings, name: str) -> int:
    """As `tally run`, with leases of readers that end soon. → its exit code"""
    app.SESSION_S, file_rows.LEASE_S, reader.RENEW_S, watermark.EVERY_S = SESSION_S, 3, 0.5, 0.5
    return serve(settings, [name])


def run_apply(settings: Settings) -> None:
    """Everything of a process but the group: what stands in the file from the stored position on, to the end."""
    store, publisher, clock = Store(settings, "probe"), Publisher(settings), Clock(settings.clock_file)
    sabotage.producing_with(publisher)
    consumer = probe.build(compacted=False)
    for batch in _batches(store, pickle.loads((settings.home / "messages").read_bytes())):
        begins = {(EXECUTIONS, 0): batch[0].offset}
        for applied in apply(store, consumer, batch, begins, clock.now()):
            hit("before_publish")
            publisher.publish(store, applied.rows)
            publisher.flush(10)
            hit("after_publish")
    while (drained := drain(store, consumer, clock.now())) is not None:
        publisher.publish(store, drained.rows)
    _say_the_rest(publisher, store)


def _batches(store: Store, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    with store.transaction() as conn:
        conn.execute("INSERT INTO positions VALUES (%s, 0, 0) ON CONFLICT DO NOTHING", [EXECUTIONS])
        row = conn.execute("SELECT next_offset FROM positions WHERE topic = %s", [EXECUTIONS]).fetchone()
    assert row
    for start in range(row[0], len(messages), BATCH):
        yield messages[start : start + BATCH]


def _say_the_rest(publisher: Publisher, store: Store) -> None:
    """Sweep until the outbox is empty."""
    outbox.SWEEP_AFTER_S = 0
    end = time.monotonic() + 20
    while time.monotonic() < end:
        publisher.flush(1)
        publisher.tidy(store)
        with store.transaction() as conn:
            if conn.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is None:
                return


_WORK: dict[str, Callable[[Settings], int | None]] = {
    "loop": run_loop,
    "busy loop": partial(run_loop, room=probe.BUSY_ROOM),
    "stream": run_stream,
    "apply": run_apply,
}
