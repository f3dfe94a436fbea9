"""Faust → apply → publish, for one room: what RoomLoop is to librdkafka, this is to Faust.

Faust's event loop carries messages; everything that touches PostgreSQL or the producer runs in one thread beside it, in
order, so that heartbeats go on while a database is away.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import faust
import psycopg
import structlog
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaException, TopicPartition

from reconciliation.app import REQUEST_S, StreamConsumer, group, make_app
from topics.runtime.delivery.positions import Offsets, earliest, start_offsets, stop_for_gone_offset
from topics.runtime.making.revisions import refuse_older
from topics.runtime.outbox.desk import Chore
from topics.runtime.process import metrics
from topics.runtime.process.health import Health
from topics.runtime.process.placed import PlacedPartitions
from topics.runtime.process.room_desk import TIDY_EVERY_S, RoomDesk
from topics.runtime.shape.consumer import AnyConsumer, Message
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.store import Stopped
from topics.settings import Settings

log = structlog.get_logger()
Result = TypeVar("Result")
Wheres = set[tuple[str, int]]

NAME = "settlements"  # of the process's part, where the room's name is RoomLoop's
TURN_S = 0.25
AGAIN_S = 0.5
TOPICS_EVERY_S = 1.0
SILENT_S = 10.0
PLACE_S_MAX = 10.0  # of a look-up of positions; after REQUEST_S Faust gives up, and reads nothing ever again
RESUME_S_MAX = 2 * REQUEST_S  # without reading, though databases and brokers are there
END_S_MAX = 10.0
CRASHED_END_S_MAX = 1.0


class StreamCrashed(Exception):
    """Faust, or a thread of its, has ended by itself: the process must end, and be started again."""


class StreamLoop:
    """One process's share of a room's streamed topics. `run` returns when `stop` is set; it raises on a bug or a crash."""

    def __init__(self, settings: Settings, consumer: AnyConsumer, stop: threading.Event) -> None:
        self.health = Health(NAME)
        self._settings = settings
        self._consumer = consumer
        self._stop = stop
        self._desk = RoomDesk(settings, consumer, stop)
        self._store, self._publisher = self._desk.store, self._desk.publisher
        self._placed = PlacedPartitions(settings, f"{consumer.name}-stream", self._store)
        self._group = KafkaConsumer(
            kafka_config(settings) | {"group.id": group(settings, consumer), "enable.auto.commit": False}
        )
        self._set_back: Offsets = {}  # positions to commit, where Kafka's offsets are ahead of them
        self._stopped = self._held = False  # room; batch in hand
        self._failed: Exception | None = None  # what ends the process
        self._slow: asyncio.Task[None] | None = None  # waits for a slow look-up
        self._read_at = time.monotonic()  # when Faust was seen to read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="apply")
        self._chores = [
            Chore(TIDY_EVERY_S, self._desk.tidy),
            Chore(TOPICS_EVERY_S, self._placed.look_at_topics),
            Chore(SILENT_S, self._look_for_silent),
        ]

    def run(self) -> None:
        asyncio.run(self._run())

    # ── the event loop ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        try:
            app = await self._started()
            if app is not None:
                await self._until_stopped(app)
        finally:
            await self._in_thread(self._close)

    async def _started(self) -> faust.App | None:
        """→ an app that has joined its group; None if `stop` was set before. Waits for a broker that is away."""
        while not self._stop.is_set():
            app = make_app(self._settings, self._consumer, self)
            try:
                await app.start()
                return app
            except KafkaConnectionError as error:
                self.health.paused("kafka", str(error))
                await _end(app)
                await asyncio.sleep(1.0)
        return None

    async def _until_stopped(self, app: faust.App) -> None:
        keeping = asyncio.create_task(self._keep(app))
        try:
            while not self._stop.is_set() and not keeping.done():
                await asyncio.sleep(TURN_S)
                self._look_at(app)
            if keeping.done():
                keeping.result()
        finally:
            keeping.cancel()
            await self._drained()
            await _end(app)

    async def _drained(self) -> None:
        """Returns once the batch in hand has ended: what Faust cancels would go on in the thread."""
        await self._in_thread(lambda: None)

    def _look_at(self, app: faust.App) -> None:
        """Faust does not end when a thread of its consumer has crashed: it sits there for ever (seen).

        Errors: StreamCrashed, or what a batch raised.
        """
        if self._failed is not None:
            raise self._failed
        consumer: Any = app.consumer
        if app.crashed or app.should_stop or consumer.crashed:
            raise StreamCrashed(repr(app.crash_reason or consumer.crash_reason))
        if app.flow_control.is_active() or self.health.state != "running":
            self._read_at = time.monotonic()
        elif time.monotonic() > self._read_at + RESUME_S_MAX:
            raise StreamCrashed("it has not begun to read again after an assignment")

    async def _keep(self, app: faust.App) -> None:
        """Chores, and late partitions placed; every TURN_S."""
        consumer: Any = app.consumer
        while True:
            await asyncio.sleep(TURN_S)
            offsets = await self._in_thread(self._turn, {consumer.where(tp) for tp in consumer.assignment()})
            await self._seek(consumer, offsets)

    async def _seek(self, consumer: StreamConsumer, offsets: Offsets) -> None:
        if self._set_back:
            back, self._set_back = self._set_back, {}
            await consumer.commit_offsets(back)
        await consumer.read_from(offsets)

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *arguments))

    # ── what Faust calls ─────────────────────────────────────────────────────────────────────────────────────────────

    async def assigned(self, wheres: Wheres) -> Offsets:
        """Partitions whose look-up takes long are late: they are placed once it has ended."""
        placing = asyncio.create_task(self._assigned(wheres))
        done, _ = await asyncio.wait({placing}, timeout=PLACE_S_MAX)
        if done:
            return placing.result()
        self._slow = asyncio.create_task(self._in_thread(self._make_late, wheres))  # after it, in the thread
        return {}

    async def _assigned(self, wheres: Wheres) -> Offsets:
        try:
            return await self._in_thread(self._assign, wheres)
        except Exception as error:
            self._failed = error
            return {}

    def to_commit(self) -> Offsets:
        hit("before_offsets")
        moved = self._placed.to_commit
        return {where: moved.pop(where) for where in list(moved)}

    async def hear(self, messages: Sequence[Message]) -> None:
        """A database that is away is waited for here, a broker that is behind, too: Faust then fetches no more."""
        rest = messages
        try:
            while rest and not self._stop.is_set():
                rest = await self._in_thread(self._handle, rest)
                self._held = bool(rest)
                if rest:
                    await asyncio.sleep(AGAIN_S)
        except Exception as error:
            self._failed = error
        finally:
            self._held = False

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _handle(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Apply and publish. → what is to be tried again soon."""
        if self._desk.backlogged:
            self._publisher.poll(0.05)
            return messages
        hit("after_poll")
        started = time.monotonic()
        trouble = self._guard(self._apply, messages)
        metrics.BATCH_SECONDS.labels(self._consumer.name).observe(self._desk.ended(started))
        return messages if trouble == "database" else ()

    def _apply(self, messages: Sequence[Message]) -> None:
        rest = self._placed.without_gaps(self._placed.unapplied(messages))
        for applied in self._desk.apply(rest, self._placed.offsets) if rest else ():
            self._placed.note(applied)
            self._make_late(applied.foreign)

    def _make_late(self, wheres: Wheres) -> None:
        """To be read again from the stored positions; until then what comes of them is dropped."""
        self._placed.late |= wheres
        for where in wheres:
            self._placed.offsets.pop(where, None)

    def _assign(self, wheres: Wheres) -> Offsets:
        """An assignment is whole: what is not in it is not ours."""
        self._placed.forget(set(self._placed.offsets) | self._placed.late)
        self._placed.late |= wheres
        return self._turn(wheres)

    def _turn(self, assigned: Wheres) -> Offsets:
        """→ the offsets from which late partitions are to be read."""
        placed: Offsets = {}
        self._guard(self._do_turn, assigned, placed)
        return placed

    def _do_turn(self, assigned: Wheres, placed: Offsets) -> None:
        if self._stopped and not self._desk.is_lifted():
            return
        self._go_on()
        for chore in self._chores:
            chore.do()
        self._placed.late |= assigned - self._placed.offsets.keys()
        self._make_late(self._placed.late & assigned)
        if self._placed.late:
            placed |= self._place(self._placed.late & assigned)
            self._placed.late.clear()
        if self._publisher.failing:
            self.health.paused("kafka", self._publisher.failing)
        elif not self._held:
            self.health.running()

    def _place(self, wheres: Wheres) -> Offsets:
        """Errors: psycopg.Error, KafkaException, Stopped."""
        named = [self._placed.kafka_name(where) for where in sorted(wheres)]
        if not named:
            return {}
        with self._store.transaction() as conn:
            refuse_older(conn, self._consumer.room)
        ids, prefix = self._placed.topic_ids(wheres), self._settings.topic_prefix
        found = start_offsets(self._store, self._group, named, prefix, ids, self._note_set_back)
        for where, due in found.items():
            if due < (first := earliest(self._group, prefix, where)):
                raise stop_for_gone_offset(self._store, where, due, f"the first is {first}")
        self._placed.offsets |= found
        return found

    def _note_set_back(self, partitions: list[TopicPartition]) -> None:
        """A member alone may commit."""
        self._set_back |= {self._placed.where(p): p.offset for p in partitions}

    def _look_for_silent(self) -> None:
        if self._held:
            return
        if dumb := self._placed.look_for_silent():
            raise StreamCrashed(f"silent although read again: {sorted(dumb)}")

    # ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _guard(self, work: Callable[..., None], *arguments: object) -> str:
        """→ what is away; empty if nothing. Raises only bugs."""
        try:
            work(*arguments)
        except Stopped as stopped:
            self._on_stopped(stopped)
        except psycopg.Error as error:
            self._desk.on_database_away(error, "pause")
            self.health.paused("database", str(error).strip()[:200])
            return "database"
        except KafkaException as error:
            log.warning("kafka away", action="pause", room=NAME, error=str(error))
            self.health.paused("kafka", str(error))
            self._make_late(set(self._placed.offsets))  # unapplied messages are read again
            return "kafka"
        return ""

    def _on_stopped(self, stopped: Stopped) -> None:
        if not self._stopped:
            log.error("room stopped", action="stop", room=NAME, code=stopped.code, reason=stopped.reason)
        self._stopped = True
        self.health.stopped(stopped.code, stopped.reason)
        self._make_late(set(self._placed.offsets))

    def _go_on(self) -> None:
        if self._stopped:
            log.info("room goes on", action="resume", room=NAME)
        self._stopped = False

    def _close(self) -> None:
        try:
            self._desk.finish()
        except (psycopg.Error, KafkaException) as error:
            log.warning("unclean end", action="close", room=NAME, error=str(error).strip()[:200])
        self._placed.close()
        self._group.close()
        self._store.close()
        self.health.gone()


async def _end(app: faust.App) -> None:
    """Leave the group. A crashed app may not end: the process does."""
    try:
        await asyncio.wait_for(app.stop(), CRASHED_END_S_MAX if app.crashed else END_S_MAX)
    except Exception as error:
        log.warning("faust does not end", action="end", error=repr(error))
