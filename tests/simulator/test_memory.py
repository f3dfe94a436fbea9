"""The PSPs' books outlive kill -9, can be read to the end, and forget a key when its life is over."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from psp.port import Captured, NothingHappened, Psp, Unknown
from tests.simulator.conftest import psps_of
from tests.simulator.running import RunningSimulator, free_port, wait_for
from tests.simulator.test_charging import a_charge, books, charged, found, in_books


def history(psp: str, number: int) -> list[dict[str, object]]:
    return [
        {
            "psp": psp,
            "reference": f"{psp}-{index}",
            "order": f"old-{index}",
            "amount": index + 1,
            "currency": "EUR",
            "scheme": "amex",
            "created_at": 1_700_000_000 + index,
            **({"decline_code": "stolen_card"} if index % 10 == 0 else {}),
        }
        for index in range(number)
    ]


def test_every_charge_that_was_answered_survives_kill_9(own_simulator: RunningSimulator) -> None:
    northpay = psps_of(own_simulator)["northpay"]
    answered = []

    def charge_until_it_dies() -> None:
        while True:
            charge = a_charge()
            if not isinstance(charged(northpay, charge), Captured):
                return
            answered.append(charge)

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(charge_until_it_dies) for _ in range(8)]
        wait_for(lambda: len(answered) > 200)
        own_simulator.kill()
        for thread in running:
            thread.result()
    own_simulator.start()
    kept = {charge.reference for charge in books(northpay)}
    assert {charge.call_id for charge in answered} <= kept
    assert len(kept) <= len(answered) + 8


def test_a_fault_token_remembers_its_first_try_through_kill_9(own_simulator: RunningSimulator) -> None:
    northpay = psps_of(own_simulator)["northpay"]
    charge = a_charge("tok_500_uncharged")
    charged(northpay, charge)
    own_simulator.kill()
    own_simulator.start()
    assert isinstance(charged(northpay, charge), Captured)


def test_faults_that_are_set_or_planned_survive_kill_9_and_what_was_met_is_over(
    own_simulator: RunningSimulator,
) -> None:
    northpay = psps_of(own_simulator)["northpay"]
    charge, other = a_charge(), a_charge()
    for changes in ({"op": "refund", "declined": 0.5, "told": 1}, {"garbage": 0.25, "latency_ms": 7, "down": True}):
        faults = own_simulator.control("PUT", "/control/faults", {"psp": "southpay", **changes})
    for planned in (charge, other, other):
        own_simulator.control("POST", "/control/next", {"op": "charge", "subject": planned.call_id, "fault": "503"})
    own_simulator.kill()
    own_simulator.start()
    assert own_simulator.control("GET", "/control/faults") == faults
    assert charged(northpay, other) == charged(northpay, charge) == NothingHappened("unavailable", 1.0)
    own_simulator.kill()
    own_simulator.start()
    assert isinstance(charged(northpay, charge), Captured)
    assert charged(northpay, other) == NothingHappened("unavailable", 1.0)
    assert isinstance(charged(northpay, other), Captured)


@pytest.mark.parametrize("name", ["northpay", "southpay"])
def test_after_its_life_a_key_is_forgotten_and_a_second_charge_is_made(
    own_simulator: RunningSimulator, name: str
) -> None:
    psp = psps_of(own_simulator)[name]
    charge = a_charge()
    first = charged(psp, charge)
    own_simulator.clock.write_text("86399.5")
    assert wait_for(lambda: charged(psp, charge)) == first
    own_simulator.clock.write_text("90000")
    wait_for(lambda: charged(psp, charge) != first)
    assert in_books(own_simulator, charge) == 2
    assert found(psp, charge) == Unknown("several_charges")


def test_preloaded_history_is_listed_to_the_end_once_and_in_order(simulator: RunningSimulator, psp: Psp) -> None:
    rows = history(psp.name, 2500)
    before = books(psp)
    ids = simulator.control("POST", "/control/preload", rows)["ids"]
    added = books(psp)[len(before) :]
    assert [charge.reference for charge in added] == [row["reference"] for row in rows]
    assert [charge.psp_reference.lower().removeprefix("ch_") for charge in added] == ids
    assert [charge.status for charge in added[:2]] == ["declined", "succeeded"]
    assert added[1].created_at.timestamp() == 1_700_000_001
    assert (added[1].amount.minor, added[1].scheme, added[1].payment_order_id) == (2, "amex", "old-1")


def test_a_wrong_row_of_history_leaves_nothing_behind(simulator: RunningSimulator) -> None:
    rows = [*history("northpay", 3), {"psp": "northpay", "reference": "x", "order": "x", "amount": 1.5}]
    before = simulator.control("GET", "/control/status")["psps"]
    with pytest.raises(OSError, match="400"):
        simulator.control("POST", "/control/preload", rows)
    assert simulator.control("GET", "/control/status")["psps"] == before


def test_sigterm_ends_it_cleanly(own_simulator: RunningSimulator) -> None:
    assert own_simulator.stop() == 0


@pytest.mark.parametrize("keys", [None, "", "{}", '{"northpay": "a"}', '{"northpay": "a", "southpay": ""}', "[1]"])
def test_missing_keys_stop_the_start_with_one_line(tmp_path: Path, keys: str | None) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "SIMULATOR_KEYS"}
    environment |= {} if keys is None else {"SIMULATOR_KEYS": keys}
    argv = [sys.executable, "-m", "simulator", "--port", str(free_port()), "--data", str(tmp_path)]
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "SIMULATOR_KEYS" in ended.stderr
