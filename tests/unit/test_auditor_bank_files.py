"""The auditor's look at bank files, on files made by hand: what agrees is silent, and each thing that does not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operations.auditor.transfers.bank_files import AuditedFile, AuditedLine, BankFolders, compare
from tests.store.bank import bank_account

FILE_ID, SHA = "f" * 32, "5" * 64


def line(id_: str, call_state: str = "ended", file_state: str = "delivered", **changes: Any) -> AuditedLine:
    row = AuditedLine(f"call {id_}", id_, 500, id_, "house-bank", call_state, 500, "EUR", file_state)
    return row._replace(**changes)


def true_file(state: str = "delivered", call_state: str = "ended") -> AuditedFile:
    lines = [line("po-1", call_state, state), line("po-2", call_state, state, sent=None, sent_currency=None)]
    sha = None if state == "closed" else SHA
    lying = () if state in ("closed", "not_delivered") else (SHA, "of an older copy")
    return AuditedFile(FILE_ID, "house-bank", "EUR", state, 2, 1000, sha, lines, lying)


@pytest.mark.parametrize(
    ("state", "call_state"),
    [
        ("closed", "sending"),
        ("delivering", "sending"),
        ("unresolved", "sending"),
        ("unresolved", "ended"),  # the bank has told of its line
        ("delivered", "answered"),
        ("delivered", "ended"),
        ("rejected", "ended"),
        ("not_delivered", "ended"),
    ],
)
def test_a_file_that_agrees_is_silent_whatever_its_state(state: str, call_state: str) -> None:
    assert list(compare(true_file(state, call_state))) == []
    assert list(compare(true_file(state, call_state)._replace(lying=()))) == [], "the bank has taken it away"


def first_line(**changes: Any) -> Callable[[AuditedFile], AuditedFile]:
    return lambda file: file._replace(lines=[file.lines[0]._replace(**changes), *file.lines[1:]])


TAMPERED: dict[str, tuple[Callable[[AuditedFile], AuditedFile], str]] = {
    "a line is missing": (
        lambda file: file._replace(lines=file.lines[:1]),
        "it tells 2 lines of 1000 in all, and has 1",
    ),
    "another sum": (lambda file: file._replace(total=1001), "it tells 2 lines of 1001 in all, and has 2 of 1000"),
    "another pay-out": (first_line(called="po-9"), "a line of po-1 to house-bank, and its call is of po-9"),
    "a call of another bank": (first_line(psp="other"), "its call is of po-1 to other"),
    "no such call": (first_line(called=None, psp=None, call_state=None), "its call is of None"),
    "another amount": (first_line(sent=501), "a line of 500 EUR, and the pay-out is of 501 EUR"),
    "another currency": (first_line(sent_currency="USD"), "the pay-out is of 500 USD"),
    "a call that could be sent again": (first_line(call_state="due"), "its call is due, and the file is delivered"),
    "a call without an answer": (first_line(call_state="sending"), "its call is sending, and the file is delivered"),
    "other bytes lie there": (lambda file: file._replace(lying=("6" * 64,)), "is not what was written"),
    "not delivered, and there": (
        lambda file: true_file("not_delivered")._replace(lying=(SHA,)),
        "it is not_delivered, and lies in a folder",
    ),
}


@pytest.mark.parametrize("tampering", TAMPERED)
def test_what_does_not_agree_is_named_with_its_file(tampering: str) -> None:
    tamper, told = TAMPERED[tampering]
    [finding] = compare(tamper(true_file()))
    assert (finding.check, finding.key) == ("bank_files_whole", FILE_ID)
    assert told in finding.detail


def test_files_are_found_by_their_ids_in_names_and_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    bank = bank_account(tmp_path)
    bank.out.mkdir()
    (bank.out / f"{FILE_ID}.xml").write_bytes(b"one")
    (bank.out / f".{FILE_ID}.me.part").write_bytes(b"half")
    folders = BankFolders([bank])
    assert folders.digests(FILE_ID) == {"7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"}
    assert folders.digests("a" * 32) == set()
    assert folders.unread == [str(bank.sent)]
