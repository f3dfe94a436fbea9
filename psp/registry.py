"""PSP accounts from the settings → adapters by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol

import psp
from psp.port import Psp
from topics.settings import PspAccount


class Adapter(Protocol):
    """The ADAPTER of a module in `psp/`: makes a Psp from an account, and declares its name."""

    @property
    def adapter(self) -> str: ...  # its name in TALLY_PSPS

    def __call__(self, name: str, url: str, api_key: str, webhook_secrets: tuple[str, ...]) -> Psp: ...


@cache
def adapters() -> Mapping[str, Adapter]:
    """The adapters of all modules in `psp/` by name. A new PSP is a module, and an account in the settings."""
    modules = [import_module(f"{psp.__name__}.{found.name}") for found in iter_modules(psp.__path__)]
    found: list[Adapter] = [module.ADAPTER for module in modules if hasattr(module, "ADAPTER")]
    return {adapter.adapter: adapter for adapter in found}


def make_psps(accounts: Iterable[PspAccount]) -> dict[str, Psp]:
    """One adapter for each account, by the account's name."""
    return {account.name: _make(account) for account in accounts}


def _make(account: PspAccount) -> Psp:
    make = adapters()[account.adapter]
    return make(account.name, account.url.rstrip("/"), account.api_key, account.webhook_secrets)
