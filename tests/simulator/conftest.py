"""One simulator for all tests of this folder, without faults at the start of each, and both adapters onto it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from psp.payout_port import PayoutProvider
from psp.port import Psp
from psp.registry import make_providers, make_psps
from tests.simulator.running import KEYS, RunningSimulator
from topics.payout_accounts import PayoutProviderAccount
from topics.settings import PspAccount


@pytest.fixture(scope="session")
def shared_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    running = RunningSimulator(tmp_path_factory.mktemp("simulator"))
    yield running
    running.kill()


@pytest.fixture
def simulator(shared_simulator: RunningSimulator) -> Iterator[RunningSimulator]:
    yield shared_simulator
    shared_simulator.clear_faults()


@pytest.fixture
def own_simulator(tmp_path: Path) -> Iterator[RunningSimulator]:
    """For tests that kill it or move its clock."""
    running = RunningSimulator(tmp_path)
    yield running
    running.kill()


def psps_of(running: RunningSimulator) -> dict[str, Psp]:
    accounts = [
        PspAccount(name="northpay", adapter="northpay", url=f"{running.url}/northpay", api_key=KEYS["northpay"]),
        PspAccount(name="southpay", adapter="southpay", url=f"{running.url}/southpay", api_key=KEYS["southpay"]),
    ]
    return make_psps(accounts)


def provider_of(running: RunningSimulator) -> PayoutProvider:
    account = PayoutProviderAccount(
        name="harbour", adapter="harbour", url=f"{running.url}/harbour", api_key=KEYS["harbour"], bank_account="main"
    )
    return make_providers([account])["harbour"]


@pytest.fixture
def provider(simulator: RunningSimulator) -> PayoutProvider:
    return provider_of(simulator)


@pytest.fixture(params=["northpay", "southpay"])
def psp(request: pytest.FixtureRequest, simulator: RunningSimulator) -> Psp:
    return psps_of(simulator)[request.param]
