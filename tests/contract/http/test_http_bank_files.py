"""Banks' reports over HTTP: taken once, refused as a whole, heard by the executor; files as operators see them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing

import pytest

from consumers.executor.settings import ExecutorSettings
from tests.contract.http.door import Door, Reply, open_door, wait_for
from tests.contract.http.test_http_notifications_heard import hearing
from tests.store.bank import HOUSE_BANK, BankRoom, bank_account, report
from topics.settings import Settings


@pytest.fixture(scope="module")
def banking(http_stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    bank = bank_account(tmp_path_factory.mktemp("bank"))
    other = bank_account(tmp_path_factory.mktemp("other")).model_copy(update={"name": "other-bank"})
    home = tmp_path_factory.mktemp("home")  # and a clock of its own
    return http_stack.model_copy(update={"payout_providers": (bank, other), "home": home})


@pytest.fixture(scope="module")
def door(banking: Settings) -> Iterator[Door]:
    with open_door(banking) as door:
        yield door


@pytest.fixture(scope="module")
def executor(banking: Settings) -> Iterator[BankRoom]:
    """Its filer is moved by hand; it hears what doors say."""
    room = BankRoom(ExecutorSettings(**banking.model_dump()))
    with closing(room), hearing(banking):
        yield room


def tell(door: Door, body: bytes, bank: str = HOUSE_BANK) -> Reply:
    return door.send("POST", f"/v1/bank-status-files/{bank}", body, {"Content-Type": "application/xml"})


def test_a_report_comes_to_the_pay_outs_that_it_names_and_to_no_other(door: Door, executor: BankRoom) -> None:
    own = secrets.token_hex(3)
    paid, failed, silent = f"paid-{own}", f"failed-{own}", f"silent-{own}"
    executor.releases(paid, failed, silent)
    file_id = executor.delivers()
    told = report(file_id, "PART", {executor.call(paid): "ACSC", executor.call(failed): "RJCT AC04"})
    answer = tell(door, told)
    assert (answer.status, answer.json) == (202, {"file_id": file_id, "matched": 2, "unknown": 0})
    wait_for(lambda: executor.states() | {paid: "paid", failed: "failed"} == executor.states())
    assert executor.states()[silent] == "submitted"
