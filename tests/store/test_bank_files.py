"""Pay-outs for a bank on PostgreSQL and a real folder: closed into a file once, written once, and settled by what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from consumers.executor.payout import call_id_of
from consumers.executor.settings import ExecutorSettings
from tests.store.bank import CUT_OFF, BankRoom, bank_account, sealed_iban
from tests.unit.payout_cases import withdrawn
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


def test_a_pay_out_may_be_withdrawn_until_its_file_is_closed(room: BankRoom) -> None:
    room.releases("before", "after")
    assert room.hears(withdrawn(payout_id="before")) == 0
    assert room.states() == {"before": "not_sent", "after": "calling"}
    room.at(CUT_OFF)
    assert room.filer._close_one(room.bank)
    assert room.hears(withdrawn(payout_id="after")) == 0
    assert room.states()["after"] == "calling", "too late: it is a line of a file"
    room.look()
    room.sweep()
    assert room.states() == {"before": "not_sent", "after": "submitted"}
    assert [line["payout_id"] for line in room.lines()] == ["after"]


def test_more_than_a_file_may_hold_leaves_in_several_and_each_pay_out_in_one(
    make_store: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_store(payout_providers=(bank_account(tmp_path / "bank", file_max=2),))
    with closing(BankRoom(ExecutorSettings(**settings.model_dump()))) as room:
        payouts = [f"po-{number}" for number in range(5)]
        room.releases(*payouts)
        room.at(CUT_OFF)
        room.look()
        room.sweep()
        written = {file_id: room.end_to_end_ids(file_id) for file_id in room.files()}
        assert sorted(len(lines) for lines in written.values()) == [1, 2, 2]
        assert sorted(chain.from_iterable(written.values())) == sorted(call_id_of(each, 1) for each in payouts)
        assert set(room.states().values()) == {"submitted"}
