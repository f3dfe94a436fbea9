"""Pay-outs at a provider in a process of its own, by callers that are killed or withdrawn from: each is sent once at most."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operations.stack.servers import Servers
from psp.registry import make_providers
from schemas.payouts import PayoutReady
from tests.contract.calls_running import Desk, as_message, calling, harbour_account, hear, topics_for_nobody
from tests.simulator.running import RunningSimulator, send, wait_for
from tests.unit.payout_cases import AMOUNT, ready, sealed_for
from topics.runtime.shape.consumer import Message
from topics.settings import Settings


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    running = RunningSimulator(tmp_path_factory.mktemp("simulator"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def prefix(servers: Servers) -> Iterator[str]:
    with topics_for_nobody(servers) as prefix:
        yield prefix


@pytest.fixture
def desk(simulator: RunningSimulator, make_store: Callable[..., Settings], prefix: str, tmp_path: Path) -> Desk:
    """An executor at harbour."""
    providers = (harbour_account(simulator.url),)
    return Desk(make_store(home=tmp_path, topic_prefix=prefix, payout_providers=providers))


def released(desk: Desk, payout_id: str, ending: str = "00", release_no: int = 1) -> Message:
    """A release as the room of pay-outs says it, good for 15 minutes from now."""
    event = ready_for(desk, payout_id, ending, release_no)
    return as_message(event, "payouts.v1", f"{payout_id} released {release_no}")


def ready_for(desk: Desk, payout_id: str, ending: str, release_no: int) -> PayoutReady:
    deadline = datetime.now(UTC) + timedelta(minutes=15)
    return ready(
        release_no, payout_id, deadline=deadline, destination=sealed_for(desk.settings, "seller-1", f"acct-{ending}")
    )


def states(desk: Desk) -> dict[str, str]:
    return {str(payout): str(state) for payout, state in desk.rows("SELECT payout_id, state FROM payouts")}


def transfers(desk: Desk) -> Mapping[str, list[str]]:
    """The provider's own books: statuses by pay-out, by its own listing."""
    found: dict[str, list[str]] = {}
    provider = make_providers(desk.settings.payout_providers)["harbour"]
    listed, more = provider.read_list(send(provider.list_transfers())[2])
    assert more is None, "a test makes fewer transfers than a page holds"
    for transfer in listed:
        assert transfer.amount == AMOUNT
        found.setdefault(transfer.payout_id, []).append(transfer.status)
    return found


def test_every_ending_of_a_transfer_is_known_by_asking_alone(desk: Desk, simulator: RunningSimulator) -> None:
    own = secrets.token_hex(3)
    endings = {"00": "paid", "01": "rejected", "02": "failed", "03": "returned", "04": "paid"}
    hear(desk.settings, [released(desk, f"{ending}-{own}", ending) for ending in endings])
    with calling(desk.settings):
        wait_for(lambda: set(states(desk).values()) == {"submitted", "rejected"})
        simulator.clock.write_text(str(2 * 86_400))
        desk.rest()
    assert states(desk) == {f"{ending}-{own}": state for ending, state in endings.items()}
    assert {payout: one for payout, [one] in transfers(desk).items() if payout.endswith(own)} == states(desk)
