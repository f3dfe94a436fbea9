"""Processes of a room, killed and paused at every step of a batch → each message has one effect, in order, and is said so."""

from __future__ import annotations

import signal

import pytest

from tests.contract.rooms import Books
from tests.contract.running import Nursery, Sender, advance_clock, kill, nursery, settled, state_of, violations, wait
from topics.runtime.shape.failpoints import NAMES
from topics.settings import Settings

PLACES = [name for name in NAMES if "." not in name]  # the others are the senders' and readers', and tested with them
KEYS = [f"k{i}" for i in range(120)]  # on every partition some
PARKED = KEYS[:3]  # throughout: their messages take no effect meanwhile
LIMIT_S = 120  # every death leaves its partitions alone for a session
BACKLOG = 600  # enough for everybody, and no more than a slow machine can bear


def send_until_dead(sender: Sender, processes: Nursery, books: Books, doomed: dict[int, str]) -> None:
    """Keep them fed until each has met its end."""
    alive = dict(doomed)

    def all_dead() -> bool:
        moving = sum(len(sent) for key, sent in sender.sent.items() if key not in PARKED)
        if moving - len(books.effects()) < BACKLOG:
            for key in KEYS:
                sender.capture(key, twice=len(sender.sent[key]) % 10 == 0)
            sender.flush()
        for pid in list(alive):
            if processes.has_ended(pid):
                assert processes.ended(pid) == -signal.SIGKILL, alive[pid]
                del alive[pid]
        return not alive

    wait("each process passes the place where it is to be killed", all_dead, LIMIT_S)


@pytest.mark.timeout(600)
def test_killed_at_every_step_of_a_batch(on_kafka: Settings, books: Books) -> None:
    """Each named place is passed, or its process would not die. A few keys are parked throughout."""
    books.breaks("world")
    sender = Sender(on_kafka)
    for key in KEYS:
        sender.capture(key, "transient" if key in PARKED else "")
    with nursery(on_kafka) as processes:
        survivor = processes.start("busy loop")
        for start in (0, len(PLACES) // 2):
            places = PLACES[start : start + len(PLACES) // 2]
            doomed = {processes.start("busy loop", failpoints=f"{at}=kill:2"): at for at in places}
            send_until_dead(sender, processes, books, doomed)
        books.mends("world")
        advance_clock(on_kafka, 4000)
        sent = sum(map(len, sender.sent.values()))
        wait("the survivor has done it all", lambda: settled(books, sent), LIMIT_S)
        kill(survivor, signal.SIGTERM)
        assert processes.ended(survivor) == 0
    assert violations(on_kafka, books, sender.sent) == set()
    ((duplicates,),) = books.rows("SELECT sum(duplicates) FROM positions")
    assert duplicates > 0


def test_a_zombie_paused_between_commit_and_publish_disturbs_no_order(on_kafka: Settings, books: Books) -> None:
    """Its heir says the zombie's rows first, though no sweep comes; what the zombie says later are repeats."""
    sender = Sender(on_kafka)
    with nursery(on_kafka) as processes:
        zombie = processes.start(failpoints="before_publish=stop:1", sweep_after_s=600)
        sender.capture("k")
        sender.flush()
        wait("the zombie stands still", lambda: state_of(zombie) == "T")
        assert books.effects("k") == [1]
        heir = processes.start(sweep_after_s=600)
        for _ in range(3):
            sender.capture("k")
        sender.flush()
        wait("the heir has taken over", lambda: len(books.effects("k")) == 4 and settled(books, 4))
        kill(zombie, signal.SIGCONT)
        for _ in range(3):
            sender.capture("k")
        sender.flush()
        wait("it goes on", lambda: settled(books, 7))
        for pid in (zombie, heir):
            kill(pid, signal.SIGTERM)
            assert processes.ended(pid) == 0
    assert violations(on_kafka, books, sender.sent) == set()
