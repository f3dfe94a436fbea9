"""A filer that is killed at each step, or of whom nobody knows: its file is written once, or two persons or the bank say."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.executor.filer import Filer
from consumers.executor.settings import ExecutorSettings
from tests.stack.forked import SERVER
from tests.store.bank import CUT_OFF, BankRoom, bank_account
from topics.runtime.shape import failpoints
from topics.settings import Settings


@pytest.fixture
def room(make_store: Callable[..., Settings], tmp_path: Path) -> Iterator[BankRoom]:
    settings = make_store(payout_providers=(bank_account(tmp_path / "bank"),))
    room = BankRoom(ExecutorSettings(**settings.model_dump()))
    room.releases("po-1", "po-2")
    yield room
    room.close()


def _look(settings: Settings, plan: str) -> None:
    failpoints._plan.update(failpoints._read(plan))
    Filer(settings).look()


def killed_at(room: BankRoom, failpoint: str) -> str:
    """The cut-off passes, and the filer is killed there. → the file's id"""
    room.at(CUT_OFF)
    process = SERVER.Process(target=_look, args=(room.settings, f"{failpoint}=kill"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    [file_id] = room.files()
    return file_id


def taken_over(room: BankRoom) -> None:
    """Another process looks, once the first one's lease is over."""
    room.lose_leases()
    room.look()
    room.sweep()


@pytest.mark.parametrize("failpoint", ["bank_file.closed", "bank_file.renamed", "bank_file.delivered"])
def test_a_file_whose_filer_was_killed_is_delivered_once(room: BankRoom, failpoint: str) -> None:
    file_id = killed_at(room, failpoint)
    taken_over(room)
    taken_over(room)
    assert [path.name for path in room.bank.out.iterdir()] == [f"{file_id}.xml"]
    assert len(room.end_to_end_ids(file_id)) == 2
    assert (room.files(), room.states()) == ({file_id: "delivered"}, {"po-1": "submitted", "po-2": "submitted"})


def test_a_file_that_the_bank_took_away_before_we_knew_is_not_written_again(room: BankRoom) -> None:
    """It is found where the bank's client keeps what it has taken."""
    file_id = killed_at(room, "bank_file.renamed")
    assert room.bank.sent is not None
    room.bank.sent.mkdir()
    (room.bank.out / f"{file_id}.xml").rename(room.bank.sent / f"20260302-{file_id}.xml")
    taken_over(room)
    assert (list(room.bank.out.iterdir()), room.files()) == ([], {file_id: "delivered"})


def test_a_file_that_lies_nowhere_is_never_written_again_and_the_bank_settles_it(room: BankRoom) -> None:
    file_id = killed_at(room, "bank_file.delivering")
    taken_over(room)
    taken_over(room)
    assert (room.files(), room.states()) == ({file_id: "unresolved"}, {"po-1": "calling", "po-2": "calling"})
    assert list(room.bank.out.iterdir()) == [], "its temporary file is gone, so that nobody can name it any more"
    assert room.hears(room.file_word(file_id, "taken"), room.word("po-1", "paid")) == 0
    room.sweep()
    assert (room.files(), room.states()) == ({file_id: "delivered"}, {"po-1": "paid", "po-2": "submitted"})


def test_a_file_of_which_two_persons_say_that_it_never_arrived_is_paid_by_another(room: BankRoom) -> None:
    file_id = killed_at(room, "bank_file.delivering")
    assert room.hears(room.file_word(file_id, "not_delivered", "operator")) == 0
    assert room.files() == {file_id: "delivering"}, "nobody can say so while it may still be written"
    taken_over(room)
    assert (
        room.hears(room.file_word(file_id, "not_delivered", "operator").model_copy(update={"notification_id": "2"}))
        == 0
    )
    room.sweep()
    assert (room.files(), set(room.states().values())) == ({file_id: "not_delivered"}, {"not_sent"})


def test_a_bank_that_has_a_file_after_all_stops_the_next_release(room: BankRoom) -> None:
    file_id = killed_at(room, "bank_file.delivering")
    taken_over(room)
    room.hears(room.file_word(file_id, "not_delivered", "operator"))
    room.sweep()
    assert room.hears(room.file_word(file_id, "taken")) == 1, "a dead letter: what two persons have said is wrong"
    assert room.hears(room.word("po-1", "paid")) == 0
    assert room.states()["po-1"] == "not_sent"
    room.hears(room.ready("po-1", 2))
    assert room.lines("po-1")[0]["call_id"] == room.call("po-1"), "no second file has it"
    assert len(room.lines("po-1")) == 1
