"""The API killed with -9 around its commit: what was accepted is said, what was not may be asked again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from operations.stack.home import Home
from operations.stack.layout import tally
from tests.contract.http.door import Door, asked, wait_for
from tests.contract.http.test_http_claims import said, stored
from tests.simulator.running import free_port
from tests.stack.forked import start
from topics.runtime.outbox import outbox
from topics.settings import Settings


@contextmanager
def own_processes(door: Door, *failpoints: str) -> Iterator[list[Door]]:
    """`tally run api` on the same stack, once for each of these failpoints."""
    Home(door.settings.home).prepare()
    ports = [free_port() for _ in failpoints]
    processes = [
        start(tally(Home(door.settings.home), f"api-{port}", ("run", "api"), variables(door.settings, port, failpoint)))
        for port, failpoint in zip(ports, failpoints, strict=True)
    ]
    try:
        others = [Door(door.settings, port, door.key) for port in ports]
        wait_for(lambda: all(map(_listens, others)), limit_s=60)
        yield others
    finally:
        for process in processes:
            process.kill()
            process.wait()


def variables(settings: Settings, port: int, failpoint: str) -> dict[str, str]:
    return {
        "TALLY_HOME": str(settings.home),
        "TALLY_KAFKA": settings.kafka,
        "TALLY_TOPIC_PREFIX": settings.topic_prefix,
        "TALLY_POSTGRES": settings.postgres,
        "TALLY_DATABASE": settings.database,
        "TALLY_SECRET": settings.secret,
        "TALLY_API_PORT": str(port),
        "TALLY_FAILPOINTS": failpoint,
    }


def _listens(door: Door) -> bool:
    try:
        return door.get("/healthz").status == 200
    except OSError:
        return False


PLACES = ("before_commit", "after_commit", "before_publish", "after_publish")


def test_a_payment_survives_a_kill_at_every_step(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the caller heard, asking again ends in one acceptance and the event on its topic."""
    monkeypatch.setattr(outbox, "SWEEP_AFTER_S", 1.0)  # of this process, which publishes what the dead have left
    with own_processes(door, *(f"{place}=kill:1" for place in PLACES)) as doomed:
        heard = {place: accepts(other, place) for place, other in zip(PLACES, doomed, strict=True)}
    for place, accepted in heard.items():
        committed = stored(door, "requests", checkout_id=f"killed-{place}") == 1
        assert committed == (place != "before_commit")
        assert committed or not accepted

        again = door.post(asked(f"killed-{place}"))
        assert (again.status, again.replayed) == (202, committed)
    records = said(door, *(f"killed-{place}" for place in PLACES))
    assert len({(record.key(), dict(record.headers() or [])["ce_id"]) for record in records}) == len(PLACES)
    wait_for(lambda: stored(door, "outbox") == 0)


def accepts(doomed: Door, place: str) -> bool:
    """A payment of a process that is killed at that place. → whether it was accepted"""
    try:
        return doomed.post(asked(f"killed-{place}")).status == 202
    except OSError:
        return False
