"""A batch of requests → their claims, stored replies and events in one transaction → answers → the events on Kafka.

The part of a door without threads: `Door` runs it in a thread beside an event loop, commands call it directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import psycopg
import structlog

from producers.problems import RETRY_SOON, Problem
from topics.runtime.outbox.desk import Chore, Desk
from topics.runtime.outbox.outbox import Row
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.failpoints import hit
from topics.runtime.shape.store import error_kind
from topics.settings import Settings

log = structlog.get_logger()

TIDY_S = 0.1
CHECK_S = 0.5  # while the store is away

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Outcomes = Sequence[Answer | Problem]
Rows = Callable[[], list[Row]]  # read after the commit
# Called in a transaction (a pipeline: no `rowcount`): returns an answer or a Problem for each request, in their order, and the
# rows to publish. If it raises a Problem the transaction is rolled back, and each request is claimed alone.
Claim = Callable[[Connection, Sequence[Request], datetime], tuple[Outcomes[Answer], Rows]]


def by_kind(claims: Mapping[type[Any], Claim[Any, Any]]) -> Claim[Any, Any]:
    """A claim for requests of several kinds in one transaction.

    The kinds are claimed in the order of `claims`, the same in all processes, so that transactions do not deadlock.
    """

    def claim(conn: Connection, batch: Sequence[Any], now: datetime) -> tuple[Outcomes[Any], Rows]:
        outcomes: dict[int, Any] = {}
        read: list[Rows] = []
        for kind, claim_kind in claims.items():
            places = [place for place, request in enumerate(batch) if type(request) is kind]
            if places:
                answered, rows = claim_kind(conn, [batch[place] for place in places], now)
                outcomes.update(zip(places, answered, strict=True))
                read.append(rows)
        return [outcomes[place] for place in range(len(batch))], lambda: [row for rows in read for row in rows()]

    return claim


class Commits(Generic[Request, Answer]):
    """A desk of the schema `doors`. Used by one thread."""

    def __init__(self, settings: Settings, claim: Claim[Request, Answer]) -> None:
        self._claim = claim
        self._desk = Desk(settings, "doors")
        self._tidying = Chore(TIDY_S, self._tidy)
        self.trouble = ""  # why requests cannot be taken now; empty if they can

    @property
    def publishing_trouble(self) -> str | None:
        return self._desk.publisher.failing

    @property
    def idle(self) -> bool:
        """Whether all records are acknowledged and the store is reachable."""
        return self._desk.publisher.idle and not self.trouble

    def take(self, batch: Sequence[Request], answer: Callable[[Outcomes[Answer]], None]) -> None:
        """Commit, answer, publish. Errors of the store and of Kafka are answered as Problems, and not raised."""
        outcomes, rows = self._decide(batch)
        answer(outcomes)
        if not self._desk.backlogged:  # else the sweep publishes them
            self._desk.publish(rows)

    def take_alone(self, request: Request) -> Answer:
        """Take one request in a process without a door; `close` waits for its publishing. Errors: Problem."""
        outcomes: list[Answer | Problem] = []
        self.take([request], outcomes.extend)
        [outcome] = outcomes
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    def _decide(self, batch: Sequence[Request]) -> tuple[Outcomes[Answer], list[Row]]:
        """Commit the batch; one by one if a claim or the database fails for a request, so that only that one is refused."""
        try:
            decided = self._commit_or_retry(batch)
            self.trouble = ""
            return decided
        except Problem as problem:
            return ([problem], []) if len(batch) == 1 else self._one_by_one(batch)
        except Exception as error:
            if error_kind(error) == "away":
                return self._refuse(batch, "unavailable", error)
            return self._refuse(batch, "internal", error) if len(batch) == 1 else self._one_by_one(batch)

    def _one_by_one(self, batch: Sequence[Request]) -> tuple[Outcomes[Answer], list[Row]]:
        each = [self._decide([request]) for request in batch]
        return [outcome for outcomes, _ in each for outcome in outcomes], [row for _, rows in each for row in rows]

    def _commit_or_retry(self, batch: Sequence[Request]) -> tuple[Outcomes[Answer], list[Row]]:
        """Commit; once more on a new connection if the connection is lost: it may have died while it was idle. If the answer
        of a successful commit was lost, the requests are replays now, and the sweep publishes their events.
        """
        try:
            return self._commit(batch)
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            return self._commit(batch)

    def _commit(self, batch: Sequence[Request]) -> tuple[Outcomes[Answer], list[Row]]:
        with self._desk.store.batch() as conn:
            outcomes, rows = self._claim(conn, batch, self._desk.clock.now())
            hit("before_commit")
        hit("after_commit")
        return outcomes, rows()

    def _refuse(self, batch: Sequence[Request], code: str, error: Exception) -> tuple[Outcomes[Answer], list[Row]]:
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        log.warning("requests not taken", action="refuse", code=code, requests=len(batch), error=why)
        self.trouble = f"database: {why}" if code == "unavailable" else why
        return [Problem(code, headers=RETRY_SOON if code == "unavailable" else ())] * len(batch), []

    def tidy(self) -> None:
        """Delete published rows, publish again after an error, sweep rows that other processes left; not at every call."""
        self._tidying.every_s = CHECK_S if self.trouble else TIDY_S
        self._tidying.do()

    def _tidy(self) -> None:
        try:
            self._desk.tidy()
            if self.trouble:  # there may have been nothing to tidy
                self._desk.store.check()
                self.trouble = ""
        except psycopg.Error as error:
            self.trouble = f"database: {error}".splitlines()[0][:200]
            self._desk.store.close()

    def close(self) -> None:
        """Publish committed rows, for five seconds at most."""
        try:
            self._desk.finish()
        except psycopg.Error as error:
            log.warning("unclean end", action="close", error=str(error).strip()[:200])
        self._desk.store.close()
