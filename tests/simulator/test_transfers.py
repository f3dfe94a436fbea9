"""Transfers by the adapter on the real simulator: what becomes of each, what its books remember, list and bring back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from psp.payout_port import (
    Accepted,
    Failed,
    FoundReply,
    ListedTransfer,
    Opened,
    Paid,
    PayoutProvider,
    Rejected,
    Returned,
    SentReply,
    Transfer,
    TransferReference,
)
from psp.replies import NothingHappened, NotThere, Unknown
from schemas.money import Money
from tests.simulator.conftest import provider_of
from tests.simulator.running import RunningSimulator, send, wait_for

DAY_S = 86_400


def a_transfer(minor: int = 12_000, currency: str = "EUR", ending: str = "00") -> Transfer:
    destination = {"type": "provider_account", "provider": "harbour", "account": f"acct-{ending}", "holder": "Ada"}
    return Transfer(uuid4().hex, f"payout-{uuid4().hex[:8]}", Money(minor, currency), destination)


def named(transfer: Transfer) -> TransferReference:
    return TransferReference(transfer.call_id, transfer.amount)


def transferred(provider: PayoutProvider, transfer: Transfer, timeout_s: float = 10.0) -> SentReply:
    """The reply to sending it, as the executor's client would have it."""
    try:
        return provider.read_transfer(named(transfer), *send(provider.transfer(transfer), timeout_s))
    except OSError as error:
        return Unknown(type(error).__name__)


def asked(provider: PayoutProvider, transfer: Transfer) -> FoundReply:
    return provider.read_find(named(transfer), *send(provider.find(named(transfer))))


def listed(provider: PayoutProvider) -> list[ListedTransfer]:
    found: list[ListedTransfer] = []
    cursor = None
    while True:
        page = provider.read_list(send(provider.list_transfers(cursor))[2])
        found += page.entries
        if page.cursor is None:
            return found
        cursor = page.cursor


def bring_back(simulator: RunningSimulator, transfer: Transfer, **more: object) -> Any:
    return simulator.control("POST", "/control/return", {"subject": transfer.payout_id, **more})


def test_what_the_adapter_declares_is_what_the_provider_promises(
    provider: PayoutProvider, simulator: RunningSimulator
) -> None:
    promised = simulator.control("GET", "/harbour/capabilities")
    assert provider.declared.settling_s == promised["settling_s"]
    assert provider.declared.key_life_s == promised["key_life_s"]


def test_a_provider_is_told_the_address_of_a_holder_outside_the_eea(provider: PayoutProvider) -> None:
    address = {"town": "London", "country": "GB"}
    to: Opened = {"type": "iban", "iban": "GB29NWBK60161331926819", "holder": "Ann Smith", "address": address}
    transfer = replace(a_transfer(), destination=to)
    assert orjson.loads(provider.transfer(transfer).body)["destination"]["address"] == address
    assert isinstance(transferred(provider, transfer), Accepted)


@pytest.mark.parametrize(("minor", "currency"), [(12_000, "EUR"), (500, "JPY"), (1_500, "BHD"), (1, "USD")])
def test_a_transfer_is_accepted_and_found_with_its_amount(provider: PayoutProvider, minor: int, currency: str) -> None:
    transfer = a_transfer(minor, currency)
    assert asked(provider, transfer) == NotThere()
    reply = transferred(provider, transfer)
    assert isinstance(reply, Accepted)
    assert asked(provider, transfer) == reply
    assert isinstance(asked(provider, replace(transfer, amount=Money(minor + 1, currency))), Unknown)


def test_by_its_account_s_last_digits_a_transfer_is_rejected_fails_comes_back_or_is_paid(
    own_simulator: RunningSimulator,
) -> None:
    provider = provider_of(own_simulator)
    made = {ending: a_transfer(ending=ending) for ending in ("00", "01", "02", "03", "04")}
    first = {ending: transferred(provider, transfer) for ending, transfer in made.items()}
    assert isinstance(first.pop("01"), Rejected)
    assert all(isinstance(reply, Accepted) for reply in first.values())
    own_simulator.clock.write_text("10")
    wait_for(lambda: isinstance(asked(provider, made["00"]), Paid))
    kinds = {ending: type(asked(provider, transfer)) for ending, transfer in made.items()}
    assert kinds == {"00": Paid, "01": Rejected, "02": Failed, "03": Paid, "04": Paid}
    own_simulator.clock.write_text(str(DAY_S + 10))
    back = wait_for(lambda: isinstance(reply := asked(provider, made["03"]), Returned) and reply)
    assert back.amount == made["03"].amount
    assert {one.payout_id: one.status for one in listed(provider)} == {
        made[ending].payout_id: status
        for ending, status in {"00": "paid", "01": "rejected", "02": "failed", "03": "returned", "04": "paid"}.items()
    }


def test_the_same_key_is_the_same_transfer_also_after_a_kill(own_simulator: RunningSimulator) -> None:
    provider, transfer = provider_of(own_simulator), a_transfer()
    first = transferred(provider, transfer)
    own_simulator.kill()
    own_simulator.start()
    again = transferred(provider, transfer)
    assert (first.provider_reference, len(listed(provider))) == (again.provider_reference, 1)  # type: ignore[union-attr]
    own_simulator.clock.write_text(str(DAY_S + 10))
    wait_for(lambda: transferred(provider, transfer) and len(listed(provider)) == 2)  # the key is forgotten
    assert asked(provider, transfer) == Unknown("several_transfers")


def test_a_key_of_another_transfer_is_a_conflict(provider: PayoutProvider) -> None:
    transfer = a_transfer()
    transferred(provider, transfer)
    for other in (
        replace(transfer, amount=Money(1, "EUR")),
        replace(transfer, payout_id="payout-other"),
        replace(transfer, destination={**transfer.destination, "account": "acct-99"}),
    ):
        assert transferred(provider, other) == Unknown("key_conflict")
    assert isinstance(asked(provider, transfer), Accepted | Paid)


def test_a_wrong_key_and_a_wrong_body_are_refused_and_nothing_is_kept(
    provider: PayoutProvider, simulator: RunningSimulator
) -> None:
    transfer = a_transfer()
    stranger = replace(provider, api_key="wrong")  # type: ignore[type-var]
    assert transferred(stranger, transfer) == NothingHappened("unauthorised")
    for destination in ({}, {"type": "cash"}, {"type": "iban", "holder": "Ada"}):
        assert transferred(provider, replace(transfer, destination=destination)) == Rejected(
            "provider_rejected_request"
        )
    assert transferred(provider, replace(transfer, amount=Money(0, "EUR"))) == Rejected("provider_rejected_request")
    assert asked(provider, transfer) == NotThere()


FAULTS: dict[str, tuple[object, bool]] = {
    "429": (NothingHappened("rate_limited", 1.0), False),
    "503": (NothingHappened("unavailable", 1.0), False),
    "500_charged": (Unknown("http_500"), True),
    "500_uncharged": (Unknown("http_500"), False),
    "timeout_charged": (Unknown("TimeoutError"), True),
    "timeout_uncharged": (Unknown("TimeoutError"), False),
    "garbage": (Unknown("unreadable"), True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planned_fault_is_met_once(provider: PayoutProvider, simulator: RunningSimulator, fault: str) -> None:
    transfer, (reply, is_kept) = a_transfer(), FAULTS[fault]
    simulator.control("POST", "/control/next", {"op": "transfer", "subject": transfer.payout_id, "fault": fault})
    assert transferred(provider, transfer, timeout_s=0.2) == reply
    books = simulator.control("GET", f"/control/transfers?reference={transfer.call_id}")["transfers"]
    assert len(books) == is_kept
    assert isinstance(transferred(provider, transfer), Accepted | Paid)
    assert len(simulator.control("GET", f"/control/transfers?reference={transfer.call_id}")["transfers"]) == 1


@pytest.mark.parametrize(("ending", "first"), [("rejected", Rejected), ("failed", Accepted), ("silent", Accepted)])
def test_a_planned_ending_is_met_once(
    provider: PayoutProvider, simulator: RunningSimulator, ending: str, first: type[object]
) -> None:
    transfer = a_transfer()
    simulator.control("POST", "/control/next", {"op": "transfer", "subject": transfer.payout_id, "fault": ending})
    assert isinstance(transferred(provider, transfer), first)
    assert isinstance(transferred(provider, a_transfer()), Accepted)


def test_faults_by_rate_are_of_transfers_alone(provider: PayoutProvider, simulator: RunningSimulator) -> None:
    simulator.control("PUT", "/control/faults", {"op": "transfer", "rejected": 1})
    assert isinstance(transferred(provider, a_transfer()), Rejected)
    faults = simulator.control("GET", "/control/faults")
    assert (faults["harbour"]["rejected"], faults["northpay"]["operations"]) == (1.0, {})
    simulator.control("PUT", "/control/faults", {"psp": "harbour", "clear": True, "503": 1})
    assert transferred(provider, a_transfer()) == NothingHappened("unavailable", 1.0)
    simulator.control("PUT", "/control/faults", {"psp": "harbour", "clear": True, "down": True})
    assert transferred(provider, a_transfer()) == NothingHappened("unavailable", 1.0)


@pytest.mark.parametrize("body", [{"psp": "harbour", "op": "refund", "503": 1}, {"psp": "northpay", "op": "transfer"}])
def test_faults_of_what_is_not_done_there_are_refused(simulator: RunningSimulator, body: dict[str, object]) -> None:
    with pytest.raises(OSError, match="400"):
        simulator.control("PUT", "/control/faults", body)


def test_a_paid_transfer_is_brought_back_in_part_and_paid_after_all(own_simulator: RunningSimulator) -> None:
    provider, transfer = provider_of(own_simulator), a_transfer()
    transferred(provider, transfer)
    with pytest.raises(OSError, match="400"):
        bring_back(own_simulator, transfer)  # it is not paid yet
    own_simulator.clock.write_text("10")
    wait_for(lambda: isinstance(asked(provider, transfer), Paid))
    for wrong in (12_001, 0, -1, "1"):
        with pytest.raises(OSError, match="400"):
            bring_back(own_simulator, transfer, amount=wrong)
    assert bring_back(own_simulator, transfer, amount=11_500, code="closed")["status"] == "returned"
    back = asked(provider, transfer)
    assert isinstance(back, Returned)
    assert (back.code, back.amount) == ("closed", Money(11_500, "EUR"))
    assert bring_back(own_simulator, transfer, again=True)["status"] == "paid"
    assert isinstance(asked(provider, transfer), Paid)


def test_the_listing_has_each_transfer_once_in_order_of_its_making(provider: PayoutProvider) -> None:
    made = [a_transfer() for _ in range(5)]
    for transfer in made:
        transferred(provider, transfer)
    found = [one for one in listed(provider) if one.reference in {transfer.call_id for transfer in made}]
    assert [(one.reference, one.payout_id, one.amount) for one in found] == [
        (transfer.call_id, transfer.payout_id, transfer.amount) for transfer in made
    ]
