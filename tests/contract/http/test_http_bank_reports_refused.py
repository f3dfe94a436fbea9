"""What no bank should send, at the door for its reports: refused with the reason, and nothing of it is kept or moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from consumers.executor.payout import call_id_of
from consumers.executor.settings import ExecutorSettings
from psp.pain002 import BYTES_MAX
from tests.contract.http.door import Door, Reply, open_door, wait_for
from tests.contract.running import heard
from tests.store.bank import HOUSE_BANK, BankRoom, bank_account
from tests.unit.test_bank_status_read import BOMB, EXTERNAL, ONE, URN, document, group, line, payment
from topics.catalog import PSP_NOTIFICATIONS
from topics.runtime.shape.reading import read
from topics.settings import Settings

PAYOUTS = ("report-1", "report-2")
FIRST, SECOND = (call_id_of(payout, 1) for payout in PAYOUTS)


@pytest.fixture(scope="module")
def settings(http_stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With two banks, and a home of its own: its clock stands at a Monday in March."""
    folder = tmp_path_factory.mktemp("banks")
    other = bank_account(folder / "other").model_copy(update={"name": "other-bank"})
    update = {"home": folder, "payout_providers": (bank_account(folder / "house"), other)}
    return http_stack.model_copy(update=update)


@pytest.fixture(scope="module")
def door(settings: Settings) -> Iterator[Door]:
    with open_door(settings) as door:
        yield door


@pytest.fixture(scope="module")
def file_id(settings: Settings) -> Iterator[str]:
    """A delivered file of two lines."""
    room = BankRoom(ExecutorSettings(**settings.model_dump()))
    room.releases(*PAYOUTS)
    yield room.delivers()
    room.close()


def told(door: Door, raw: str | bytes, bank: str = HOUSE_BANK, **headers: str) -> Reply:
    body = raw.encode() if isinstance(raw, str) else raw
    return door.send("POST", f"/v1/bank-status-files/{bank}", body, {"Content-Type": "application/xml", **headers})


def kept(settings: Settings, file_id: str) -> list[dict[str, object]]:
    return read(settings, "doors", "SELECT * FROM bank_status_file_view WHERE file_id = %s", [file_id])


def heard_of(settings: Settings) -> set[str]:
    """The calls of which the door has told."""
    return {(message.key() or b"").decode() for message in heard(settings, PSP_NOTIFICATIONS.name)}


def whole(file_id: str, *lines: str, status: str = "PART", namespace: str = "pain.002.001.10", **more: str) -> str:
    told = payment(lines, id_=f"{file_id}-1") if lines else ""
    return document(group(status, file_id), told, namespace=URN + namespace, **more)


BAD: dict[str, Callable[[str], str | bytes]] = {
    "an entity": lambda file: whole(file, before=BOMB),
    "an external entity": lambda file: whole(file, before=EXTERNAL),
    "a document type": lambda file: whole(file, before="<!DOCTYPE Document>"),
    "nothing": lambda file: b"",
    "json": lambda file: b"{}",
    "half of it": lambda file: whole(file, line("ACSC", FIRST))[:-40],
    "utf-16 that says utf-8": lambda file: whole(file, line("ACSC", FIRST)).encode("utf-16"),
    "another message": lambda file: whole(file, namespace="pain.001.001.09"),
    "another version": lambda file: whole(file, namespace="pain.002.001.02"),
    "no namespace": lambda file: whole(file).replace(f' xmlns="{URN}pain.002.001.10"', ""),
    "an unknown status": lambda file: whole(file, line("GONE", FIRST)),
    "two statuses for a line": lambda file: whole(file, line("ACSC", FIRST), line("RJCT", FIRST)),
    "a rejected file with a paid line": lambda file: whole(file, line("ACSC", FIRST), status="RJCT"),
    "a repetition": lambda file: whole(file, line("RJCT", FIRST, "DU03")),
    "an amount of no currency": lambda file: whole(file, line("ACSC", FIRST, amount="1.001")),
    "another payment part": lambda file: whole(file).replace("</CstmrPmtStsRpt>", payment([]) + "</CstmrPmtStsRpt>"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_report_that_cannot_be_understood_is_refused_and_nothing_of_it_is_kept(
    door: Door, settings: Settings, file_id: str, what: str
) -> None:
    before = kept(settings, file_id)
    reply = told(door, BAD[what](file_id))
    assert (reply.status, reply.json["code"]) == (422, "invalid_xml"), reply.body
    assert reply.json["detail"] != "Not a pain.002 that can be read wholly: nothing of it counts.", "it says why"
    assert kept(settings, file_id) == before


def test_a_report_about_no_file_of_ours_or_of_another_bank_is_refused(
    door: Door, settings: Settings, file_id: str
) -> None:
    before = kept(settings, file_id)
    strange = told(door, whole("ab" * 16, line("RJCT", FIRST)))
    assert (strange.status, strange.json["code"]) == (422, "unknown_file")
    elsewhere = told(door, whole(file_id, line("RJCT", FIRST)), "other-bank")
    assert (elsewhere.status, elsewhere.json["code"]) == (422, "wrong_provider")
    assert told(door, whole(file_id), "no-bank").status == 404
    assert (kept(settings, file_id), kept(settings, "ab" * 16)) == (before, [])


def test_more_than_ten_megabytes_are_refused_before_they_are_read(door: Door, settings: Settings, file_id: str) -> None:
    before = kept(settings, file_id)
    for size in (BYTES_MAX + 1, 4 * BYTES_MAX):
        reply = told(door, b"", **{"Content-Length": str(size)})
        assert (reply.status, reply.json["code"]) == (413, "file_too_large")
    assert kept(settings, file_id) == before


def test_a_line_that_is_not_ours_or_of_another_amount_is_kept_shown_and_moves_nothing(
    door: Door, settings: Settings, file_id: str
) -> None:
    raw = whole(file_id, line("RJCT", ONE), line("RJCT", FIRST, "AC04", "120.01"), line("ACSC", SECOND, amount="120"))
    reply = told(door, raw)
    assert (reply.status, reply.json) == (202, {"file_id": file_id, "matched": 1, "unknown": 2}), reply.body
    again = told(door, raw)
    assert (again.json, again.replayed) == (reply.json, True)
    [report] = door.get(f"/v1/ops/bank-files/{file_id}").json["reports"]
    assert [(each["end_to_end_id"], each["why"]) for each in report["odd"]] == [
        (ONE, "not_ours"),
        (FIRST, "other_amount"),
    ]
    wait_for(lambda: SECOND in heard_of(settings))
    assert FIRST not in heard_of(settings), "neither now nor by any report that was refused"
