"""Settings → the table of processes that make up a running stack."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from consumers.executor.settings import RoutingRule
from operations.stack.home import Home
from operations.stack.process import Command
from topics.payout_accounts import PayoutProviderAccount
from topics.settings import PspAccount, Settings
from topics.settlement_sources import SettlementSource

# Which rooms share a process. The executor waits for PSPs and gets one to itself; so do the reading of settlement files and
# what comes through Faust, which take a processor each while a large file is read.
ROOM_PROCESSES: tuple[tuple[str, ...], ...] = (
    ("payments", "risk", "payouts"),
    ("executor",),
    ("wallet", "ledger", "webhooks"),
    ("reconciliation",),
    ("settlements",),
)
PSPS = ("northpay", "southpay")
PROVIDERS: tuple[Literal["harbour"], ...] = ("harbour",)  # of pay-outs
BANK = "main"  # the bank account that PSPs pay into and that pay-outs leave from
SIMULATOR_TAKES = 256  # concurrent calls; with 64 the executor leased many small batches, and calls waited
ROUTING = (RoutingRule(psp="northpay", weight=70), RoutingRule(psp="southpay", weight=30))

# On a developer's machine webhooks may go to loopback, and over plain HTTP.
WEBHOOKS = json.dumps({"http_allowed": True, "allowed_networks": ["127.0.0.0/8", "::1/128"]})

TALLY = Path(sys.executable).with_name("tally")


@dataclass(frozen=True)
class PlannedProcess:
    """A process and the rooms that it runs."""

    command: Command
    rooms: tuple[str, ...] = ()


def rooms_and_api(home: Home, environment: Mapping[str, str], copies: int) -> list[PlannedProcess]:
    """The processes, each with its own metrics port if the settings have one."""
    named = [(f"{'-'.join(rooms)}-{number}", rooms) for rooms in ROOM_PROCESSES for number in range(1, copies + 1)]
    first = int(environment.get("TALLY_METRICS_PORT", 0))
    planned = []
    for place, (name, rooms) in enumerate([*named, ("api", ())]):
        own = {**environment, "TALLY_METRICS_PORT": str(first + place if first else 0)}
        planned.append(PlannedProcess(tally(home, name, ["run", *(rooms or ["api"])], own), rooms))
    return planned


def tally(home: Home, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
    return Command(name, [sys.executable, str(TALLY), *arguments], home.logs / f"{name}.log", environment)


def prepare(home: Home, environment: Mapping[str, str], postgres_admin: str, partitions: int) -> Command:
    """Migrations, topics and the demo key. It alone gets the superuser's address."""
    argv = [sys.executable, "-m", "operations.stack.prepare", "--home", str(home.path)]
    argv += ["--partitions", str(partitions)]
    own = {**environment, "TALLY_POSTGRES_ADMIN": postgres_admin}
    return Command("prepare", argv, home.logs / "prepare.log", own)


def simulator(home: Home, settings: Settings, port: int, api_url: str = "") -> Command:
    """The simulator; with the API's address its PSPs send webhooks."""
    argv = [sys.executable, "-m", "simulator", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--data", str(home.simulator), "--clock", str(home.clock), "--bank", str(home.bank)]
    argv += ["--webhooks", f"{api_url}/v1/psp-notifications"] if api_url else []
    names = (*PSPS, *PROVIDERS)
    secrets = {
        "SIMULATOR_KEYS": json.dumps({name: settings.derive(f"psp:{name}") for name in names}),
        "SIMULATOR_WEBHOOK_SECRETS": json.dumps({name: webhook_secret(settings, name) for name in names}),
    }
    return Command("simulator", argv, home.logs / "simulator.log", secrets)


def webhook_secret(settings: Settings, psp: str) -> str:
    """Derived like the API key; processes get it in their environment, whose file only the owner of the home can read."""
    return settings.derive(f"psp-webhooks:{psp}")


def environment(settings: Settings, kafka: str, postgres: str, ports: Mapping[str, int]) -> dict[str, str]:
    """The settings that every process is given: those of this shell, and the addresses of this stack."""
    given = {name: value for name, value in os.environ.items() if name.startswith("TALLY_")}
    given |= {"TALLY_HOME": str(settings.home), "TALLY_KAFKA": kafka, "TALLY_POSTGRES": postgres}
    given |= {"TALLY_API_PORT": str(ports["api"])}
    given.setdefault("TALLY_PSPS", simulated_psps(settings, ports["simulator"]))
    given.setdefault("TALLY_PAYOUT_PROVIDERS", simulated_providers(settings, ports["simulator"]))
    given.setdefault("TALLY_SETTLEMENT_SOURCES", simulated_sources())
    given.setdefault(
        "TALLY_ROUTING", json.dumps([rule.model_dump(mode="json", exclude_unset=True) for rule in ROUTING])
    )
    given.setdefault("TALLY_RISK_LISTS", json.dumps([str(Home(settings.home).demo_list)]))
    given.setdefault("TALLY_WEBHOOKS", WEBHOOKS)
    given.pop("TALLY_POSTGRES_ADMIN", None)
    return given


def simulated_psps(settings: Settings, port: int) -> str:
    accounts = [
        PspAccount(
            name=name,
            adapter=name,
            url=f"http://127.0.0.1:{port}/{name}",
            api_key=settings.derive(f"psp:{name}"),
            webhook_secrets=(webhook_secret(settings, name),),
            concurrency=SIMULATOR_TAKES,
        )
        for name in PSPS
    ]
    return _as_json(accounts)


def simulated_providers(settings: Settings, port: int) -> str:
    accounts = [
        PayoutProviderAccount(
            name=name,
            adapter=name,
            url=f"http://127.0.0.1:{port}/{name}",
            api_key=settings.derive(f"psp:{name}"),
            webhook_secrets=(webhook_secret(settings, name),),
            bank_account=BANK,
            concurrency=SIMULATOR_TAKES,
        )
        for name in PROVIDERS
    ]
    return _as_json(accounts)


def simulated_sources() -> str:
    """The PSPs' accounts and the bank's, as `tally sim settle` writes their files; and how its bank names a settlement."""
    reports = [SettlementSource(name=name, psp=name, bank_account=BANK) for name in PSPS]
    named = frozenset({r"northpay-account, (po_[0-9a-f]+)", r"batch ([0-9]+), southpay-account"})
    return _as_json([*reports, SettlementSource(name=BANK, kind="bank", bank_account=BANK, references=named)])


def _as_json(accounts: Sequence[BaseModel]) -> str:
    return json.dumps([account.model_dump(mode="json", exclude_unset=True) for account in accounts])
