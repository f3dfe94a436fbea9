"""Pay-outs for a bank on PostgreSQL and a real folder: closed into a file once, written once, and settled by what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.executor.payout import call_id_of
from consumers.executor.settings import ExecutorSettings
from tests.store.bank import CUT_OFF, BankRoom, bank_account, sealed_iban
from topics.settings import Settings


@pytest.fixture
def room(make_store: Callable[..., Settings], tmp_path: Path) -> Iterator[BankRoom]:
    settings = make_store(payout_providers=(bank_account(tmp_path / "bank"),))
    room = BankRoom(ExecutorSettings(**settings.model_dump()))
    yield room
    room.close()


def test_a_pay_out_leaves_in_a_file_at_its_cut_off_and_is_paid_when_the_bank_says_so(room: BankRoom) -> None:
    room.releases("po-1")
    room.look()
    assert (room.states(), room.files()) == ({"po-1": "calling"}, {})
    file_id = room.delivers()
    assert (room.states(), room.files()) == ({"po-1": "submitted"}, {file_id: "delivered"})
    assert room.end_to_end_ids(file_id) == [call_id_of("po-1", 1)]
    assert f"<MsgId>{file_id}</MsgId>" in room.written(file_id)
    assert "<ReqdExctnDt><Dt>2026-03-02</Dt></ReqdExctnDt>" in room.written(file_id)
    assert room.hears(room.file_word(file_id, "taken"), room.word("po-1", "paid")) == 0
    assert room.states() == {"po-1": "paid"}


def test_a_line_that_cannot_be_written_any_more_holds_up_neither_its_file_s_others_nor_other_files(
    room: BankRoom,
) -> None:
    """Its country was blocked between closing and writing. Whatever else was in the file leaves in the next one."""
    blocked = sealed_iban(room.settings, "AT611904300234573201")
    assert room.hears(room.ready("po-1"), room.ready("po-2", destination=blocked)) == 0
    room.at(CUT_OFF)
    assert room.filer._close_one(room.bank)
    room.filer._opener = replace(room.filer._opener, countries_blocked=frozenset({"AT"}))
    room.look()
    room.sweep()
    assert list(room.bank.out.iterdir()) == []
    assert (set(room.files().values()), room.states()) == ({"not_delivered"}, {"po-1": "not_sent", "po-2": "not_sent"})
    assert room.hears(room.ready("po-1", 2), room.ready("po-2", 2, destination=blocked)) == 0
    file_id = room.delivers()
    assert room.end_to_end_ids(file_id) == [call_id_of("po-1", 2)]
    assert room.states() == {"po-1": "submitted", "po-2": "not_sent"}
