"""`python -m simulator`: arguments and API keys → a running simulator; SIGTERM and SIGINT end it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import uvloop

from simulator.banking.books import BankBooks
from simulator.banking.clerk import Clerk
from simulator.charging import Charging
from simulator.clock import Clock
from simulator.commands import ControlCommands
from simulator.control import Control
from simulator.disputes import Disputes
from simulator.faults import AT_PROVIDERS, Faults
from simulator.harbour import Harbour
from simulator.hosted import HostedPages
from simulator.http import Server
from simulator.kept_faults import KeptFaults
from simulator.memory import Memory
from simulator.northpay import Northpay
from simulator.operations import OperationBooks
from simulator.plans import Plans
from simulator.server import Simulator
from simulator.settlements.asked import SettlementRequests
from simulator.settlements.bank import Bank
from simulator.settlements.books import SettlementBooks
from simulator.settlements.files import Files
from simulator.shape import Shape
from simulator.southpay import Southpay
from simulator.transfers import Transfers
from simulator.webhooks import Endpoint, WebhookSender

KEYS_VARIABLE = "SIMULATOR_KEYS"
SECRETS_VARIABLE = "SIMULATOR_WEBHOOK_SECRETS"
FOLDER_VARIABLE = "SIMULATOR_SECRETS_DIR"
PROVIDERS = (Harbour.name,)
SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in (Northpay(), Southpay())}


class WrongStart(Exception):
    """The simulator cannot start; the message is one line."""


def main() -> None:
    arguments = _arguments()
    try:
        keys = _read_keys(KEYS_VARIABLE)
        endpoint = Endpoint(arguments.webhooks, _read_keys(SECRETS_VARIABLE)) if arguments.webhooks else None
        uvloop.run(_serve(arguments, keys, endpoint))
    except (WrongStart, OSError) as error:
        sys.exit(f"simulator: {error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator", description="Payment service providers to test against.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the PSPs' books")
    parser.add_argument("--clock", type=Path, help="file with the seconds that the world is ahead of the machine")
    parser.add_argument("--bank", type=Path, help="folder with the bank's out, sent and statuses; without it no bank")
    parser.add_argument("--webhooks", metavar="URL", help="where PSPs tell of what they did, each at URL/<psp>")
    parser.add_argument("--pages", metavar="URL", help="where buyers reach the PSPs' pages, if not at host and port")
    return parser.parse_args()


def _read_keys(variable: str) -> Mapping[str, str]:
    """API key, or webhook secret, by PSP and provider, from JSON; without a provider's nobody can call it. Errors: WrongStart."""
    text = os.environ.get(variable) or _read_file(variable)
    shape = ", ".join(f'"{name}": "…"' for name in SHAPES)
    try:
        keys = json.loads(text)
        complete = set(SHAPES) <= set(keys) <= {*SHAPES, *PROVIDERS} and all(
            isinstance(key, str) and key for key in keys.values()
        )
    except (ValueError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise WrongStart(f"{variable} must be set to JSON like {{{shape}}}")
    return dict(keys)


def _read_file(variable: str) -> str:
    """The secret of that name from the folder where Docker and Kubernetes mount secrets; empty without a file."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return (Path(folder) / variable).read_text() if folder else ""


async def _serve(arguments: argparse.Namespace, keys: Mapping[str, str], endpoint: Endpoint | None) -> None:
    arguments.data.mkdir(parents=True, exist_ok=True)
    memory = Memory(arguments.data / "psps.sqlite")
    clock = Clock(arguments.clock)
    operations = OperationBooks(memory)
    disputes = Disputes(memory, operations)
    plans = Plans(memory)
    webhooks = WebhookSender(endpoint, SHAPES, clock, random.Random())
    commands = ControlCommands(memory, operations, disputes, webhooks, plans, clock, SHAPES)
    harbour = Harbour(Transfers(memory), clock, random.Random(), webhooks, plans)
    unset = {**{name: Faults() for name in SHAPES}, harbour.name: Faults(ops=AT_PROVIDERS)}
    bank = Bank(memory)
    books = SettlementBooks(memory, bank, clock, SHAPES)
    settlements = SettlementRequests(books, Files(books, bank))
    clerk = Clerk(BankBooks(memory, bank), arguments.bank, clock, plans) if arguments.bank else None
    control = Control(memory, clock, SHAPES, commands, KeptFaults(memory, unset), harbour, settlements, clerk)
    pages = HostedPages(memory, clock, random.Random(), webhooks, plans, SHAPES)
    pages_url = arguments.pages or f"http://{arguments.host}:{arguments.port}"
    charging = Charging(memory, operations, clock, random.Random(), webhooks, plans, pages, pages_url)
    simulator = Simulator(memory, operations, disputes, charging, control, SHAPES, keys, clock, harbour, pages)
    server = Server(simulator.handle)
    committing = asyncio.create_task(memory.run())
    others = [asyncio.create_task(each.run()) for each in (harbour, clerk, pages) if each is not None]
    for charge in memory.undecided(clock.now_us()):
        webhooks.tell_decided(charge)
    for operation in operations.undecided(clock.now_us()):
        webhooks.tell_decided(operation)
    await server.listen(arguments.host, arguments.port)
    print(f"simulator: http://{arguments.host}:{arguments.port} ready", file=sys.stderr, flush=True)
    await _asked_to_stop(committing)
    server.close()
    committing.cancel()
    for other in others:
        other.cancel()
    memory.close()


async def _asked_to_stop(committing: asyncio.Task[None]) -> None:
    """Wait for a signal. Raises the error that ended the commits, if any."""
    stop = asyncio.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wanted, stop.set)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, committing}, return_when=asyncio.FIRST_COMPLETED)
    if committing.done():
        committing.result()


if __name__ == "__main__":
    main()
