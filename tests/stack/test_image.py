"""What docker-compose.yml starts, started here: each service's command with the image's packages and secrets from files.

No container: that there is an image is not proven by this, that its packages and each service's settings suffice is.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from operations.stack.home import CHECKOUT
from operations.stack.ports import PortClaims
from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests.conftest import SECRET, delete_topics
from tests.databases import drop_database
from tests.stack.wheels import build, install
from tests.tidy.test_compose import ONCE, OURS, ROOMS, locked

LIMIT_S = 60.0


@dataclass
class Machine:
    """Where the services run: the image's environment, the secrets' folder, and what stands for the compose network."""

    bin: Path
    root: Path
    own: dict[str, str]
    places: dict[str, str]  # an address among containers → here
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """In one pass, the longest address first."""
        known = "|".join(re.escape(there) for there in sorted(self.places, key=len, reverse=True))
        return re.sub(rf"(?<![\d.])({known})(?!\d)", lambda found: self.places[found[1]], text)

    def environment(self, name: str) -> dict[str, str]:
        """As compose gives it, with a home of its own; files of the secrets that this service lists, and of no other."""
        given = {key: self.here(str(value)) for key, value in OURS[name]["environment"].items()}
        folder = self.root / name / "secrets"
        folder.mkdir(parents=True, exist_ok=True)
        for secret in OURS[name].get("secrets", ()):
            (folder / secret).write_text(self.here((self.root / "secrets" / secret).read_text()))
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TALLY_")}
        told = {key: str(folder) for key in given if key.endswith("SECRETS_DIR")}
        return {**inherited, **self.own, **given, **told, "TALLY_HOME": str(self.root / name)}

    def command(self, name: str) -> list[str]:
        entry = OURS[name].get("entrypoint", ["tally"])
        return self.typed(name, [*entry, *OURS[name]["command"]])

    def typed(self, name: str, words: list[str]) -> list[str]:
        home = str(self.root / name)
        return [str(self.bin / words[0]), *(self.here(word).replace("/srv/tally", home) for word in words[1:])]

    def once(self, name: str) -> subprocess.CompletedProcess[str]:
        command, given = self.command(name), self.environment(name)
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=False)

    def start(self, name: str) -> None:
        with (self.root / f"{name}.log").open("wb") as log:
            given = self.environment(name)
            self.running[name] = subprocess.Popen(self.command(name), env=given, stdout=log, stderr=log)

    def healthy(self, name: str) -> bool:
        """As Docker asks: the service's own check, else the image's."""
        image = re.search(r"HEALTHCHECK .* CMD (\[.*\])", (CHECKOUT / "deploy" / "Dockerfile").read_text())
        assert image is not None
        asked = OURS[name].get("healthcheck", {}).get("test", ["CMD", *json.loads(image[1])])
        return subprocess.run(self.typed(name, asked[1:]), capture_output=True, check=False).returncode == 0

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()[-2000:]


def eventually(true: Callable[[], bool], what: Callable[[], str]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def machine(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    root = tmp_path_factory.mktemp("image")
    wheel = build(root / "source", root / "dist")
    at = install(wheel, root / "venv", locked("deploy/runtime.lock"))
    subprocess.run(["sh", CHECKOUT / "deploy" / "secrets.sh", root / "secrets"], check=True)
    for name, text in (("TALLY_SECRET", SECRET), ("TALLY_POSTGRES_ADMIN", servers.postgres_admin)):
        (root / "secrets" / name).chmod(0o600)
        (root / "secrets" / name).write_text(text)
    claims = PortClaims()
    api, simulator = str(claims.choose(18000)), str(claims.choose(18100))
    places = {"kafka:19092": servers.kafka, "postgres:5432": servers.postgres, "0.0.0.0": "127.0.0.1"}
    places |= {
        "simulator:8100": f"127.0.0.1:{simulator}",
        "api:8000": f"127.0.0.1:{api}",
    }
    places |= {"127.0.0.1:8000": f"127.0.0.1:{api}", "127.0.0.1:8100": f"127.0.0.1:{simulator}"}
    places |= {"8000": api, "8100": simulator}
    mine = secrets.token_hex(5)
    own = {"TALLY_TOPIC_PREFIX": f"i{mine}.", "TALLY_DATABASE": f"tally_i{mine}"}
    machine = Machine(at, root, own, places)
    yield machine
    for child in machine.running.values():
        child.terminate()
    for child in machine.running.values():
        child.wait(60)
    delete_topics(load_settings(kafka=servers.kafka, topic_prefix=own["TALLY_TOPIC_PREFIX"]))
    drop_database(servers, own["TALLY_DATABASE"])


def ask(machine: Machine, key: str, method: str, path: str, body: object = None) -> Any:
    url = machine.here("http://127.0.0.1:8000") + path
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10) as reply:
        return json.load(reply)


PAYMENT = {
    "checkout_id": "c-image-1",
    "buyer_info": {"buyer_account": "b-1", "name": "Ada Bauer", "country": "DE"},
    "payment_method": {"token": "tok_visa"},
    "payment_orders": [
        {"payment_order_id": "c-image-1-1", "seller_account": "s-1", "amount": "12.34", "currency": "EUR"}
    ],
}


def test_every_service_gets_well_a_payment_ends_and_one_that_cannot_work_is_not_well(machine: Machine) -> None:
    for name in sorted(ONCE):
        done = machine.once(name)
        assert done.returncode == 0, done.stderr
    lasting = [*ROOMS, "simulator"]
    assert not any(machine.healthy(name) for name in lasting)
    for name in lasting:
        machine.start(name)
    for name in lasting:
        eventually(
            lambda name=name: machine.healthy(name), lambda name=name: f"{name} is not well: {machine.log(name)}"
        )

    keys = subprocess.run(
        [str(machine.bin / "tally"), "keys", "create", "shop"],
        env=machine.environment("api"),
        capture_output=True,
        text=True,
        check=True,
    )
    key = keys.stdout.strip()
    assert ask(machine, key, "POST", "/v1/payments", PAYMENT)["status"] == "received"

    def done() -> bool:
        with suppress(urllib.error.URLError):
            return bool(ask(machine, key, "GET", "/v1/payments/c-image-1")["is_payment_done"])
        return False

    eventually(done, lambda: "\n".join(machine.log(name) for name in ROOMS))
    assert ask(machine, key, "GET", "/v1/payments/c-image-1")["status"] == "succeeded"

    machine.running["wallet"].terminate()
    assert machine.running["wallet"].wait(60) == 0
    assert not machine.healthy("wallet")
    assert machine.healthy("ledger"), "each has a process of its own"
