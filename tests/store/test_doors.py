"""One door for every kind of request: what waits together is committed together, and nobody spoils it for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
import pytest

from producers.doors.commits import Commits, by_kind
from producers.doors.door import Door
from producers.problems import Problem
from topics.runtime.outbox import outbox
from topics.runtime.outbox.outbox import OutboxRecord, Publisher, Row
from topics.runtime.shape.consumer import Connection
from topics.runtime.shape.store import Store
from topics.settings import Settings

WELL, REFUSED, SPOILT, BUG = "well", "refused", "spoilt", "bug"


@dataclass(frozen=True)
class Ask:
    key: str
    what: str = WELL

    def ids(self) -> list[str]:
        return [self.key]


class OtherAsk(Ask):
    """A request of another kind."""


@dataclass
class Claims:
    """What the door was given, batch by batch. Each request claims its key as an API key's name, as if it were one."""

    batches: list[list[str]] = field(default_factory=list)

    def __call__(
        self, conn: Connection, batch: Sequence[Ask], now: datetime
    ) -> tuple[Sequence[str | Problem], Callable[[], list[Row]]]:
        self.batches.append([ask.key for ask in batch])
        for ask in batch:
            if ask.what == REFUSED:
                raise Problem("id_taken")
            conn.execute("SELECT 1 / %s", [0 if ask.what == SPOILT else 1])
            if ask.what == BUG:
                conn.execute("SELECT FROM no_such_table")
        said = [OutboxRecord("psp-notifications.v1", ask.key.encode(), [], b"{}") for ask in batch]
        return [f"{ask.key} is done" for ask in batch], outbox.insert(conn, said)


def outcomes_of(settings: Settings, claims: Claims, *asks: Ask) -> list[str]:
    """All at once; a refusal is its code."""

    async def submit(door: Door[Ask, str], ask: Ask) -> str:
        try:
            return await door.submit(ask)
        except Problem as problem:
            return problem.code

    async def all_of(door: Door[Ask, str]) -> list[str]:
        return await asyncio.gather(*[submit(door, ask) for ask in asks])

    with closing(Door(settings, "tried", claims)) as door:
        return asyncio.run(all_of(door))


def said(settings: Settings) -> list[bytes]:
    with closing(Store(settings, "doors")) as store, store.transaction() as conn:
        return sorted(record.key or b"" for row in outbox.lowest_rows(conn, 2**62) for record in row.records)


@pytest.fixture
def away(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Without Kafka, and without waiting for it: what is published stays in the outbox, to be looked at."""
    monkeypatch.setattr(Publisher, "flush", lambda self, timeout_s: None)
    return stored.model_copy(update={"kafka": "127.0.0.1:1"})


@pytest.mark.parametrize(("what", "code"), [(REFUSED, "id_taken"), (SPOILT, "internal")])
def test_a_request_that_is_refused_undoes_nothing_of_those_beside_it(away: Settings, what: str, code: str) -> None:
    claims = Claims()
    heard = outcomes_of(away, claims, Ask("first"), Ask("second", what), Ask("third"))
    assert heard == ["first is done", code, "third is done"]
    assert said(away) == [b"first", b"third"]


def test_what_waits_is_committed_together_and_never_two_that_claim_the_same(away: Settings) -> None:
    claims = Claims()
    heard = outcomes_of(away, claims, Ask("one"), Ask("same"), Ask("same"), Ask("same"), Ask("other"))
    assert heard == ["one is done", "same is done", "same is done", "same is done", "other is done"]
    assert all(len(set(batch)) == len(batch) for batch in claims.batches)
    assert len(claims.batches) < 5
    assert said(away) == [b"one", b"other", b"same", b"same", b"same"]


def test_requests_of_several_kinds_share_a_commit_and_a_fault_of_one_kind_refuses_none_of_the_others(
    away: Settings,
) -> None:
    heard: list[str | Problem] = []
    with closing(Commits(away, by_kind({Ask: Claims(), OtherAsk: Claims()}))) as commits:
        commits.take([OtherAsk("one"), Ask("two"), OtherAsk("three")], heard.extend)
        assert heard == ["one is done", "two is done", "three is done"]
        with closing(Store(away, "doors")) as store, store.transaction() as conn:
            assert conn.execute("SELECT count(*), count(DISTINCT xmin::text) FROM outbox").fetchone() == (2, 1)
        heard.clear()
        commits.take([Ask("four"), OtherAsk("five", BUG)], heard.extend)
    [four, five] = heard
    assert (four, isinstance(five, Problem) and five.code) == ("four is done", "internal")
    assert said(away) == [b"four", b"one", b"three", b"two"]


def test_a_door_starts_with_its_first_request_and_ends_with_all_of_them_answered(away: Settings) -> None:
    door = Door(away, "tried", Claims())
    assert not door.alive
    door.close()
    with pytest.raises(Problem, match="busy"):
        asyncio.run(door.submit(Ask("late")))


def test_a_process_without_a_door_takes_one_request_by_itself(away: Settings) -> None:
    with closing(Commits(away, Claims())) as commits:
        assert commits.take_alone(Ask("alone")) == "alone is done"
        with pytest.raises(Problem):
            commits.take_alone(Ask("not", REFUSED))
    assert said(away) == [b"alone"]


def test_while_the_store_is_away_each_is_told_so_and_may_ask_again(away: Settings) -> None:
    gone = away.model_copy(update={"database": "tally_nobody"})
    with pytest.raises(psycopg.Error), closing(Store(gone, "doors")) as store:
        store.check()
    assert outcomes_of(gone, Claims(), Ask("one"), Ask("two")) == ["unavailable", "unavailable"]
    assert outcomes_of(away, Claims(), Ask("one")) == ["one is done"]
