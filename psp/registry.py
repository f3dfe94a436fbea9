"""Accounts at PSPs and pay-out providers, from the settings → adapters by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Protocol

import psp
from psp.payout_port import PayoutProvider
from psp.port import Psp
from topics.payout_accounts import PayoutProviderAccount
from topics.settings import PspAccount


class Adapter(Protocol):
    """The ADAPTER of a module in `psp/`: makes a Psp from an account, and declares its name."""

    @property
    def adapter(self) -> str: ...  # its name in TALLY_PSPS

    def __call__(self, name: str, url: str, api_key: str, webhook_secrets: tuple[str, ...]) -> Psp: ...


class ProviderAdapter(Protocol):
    """The PROVIDER of a module in `psp/`: makes a PayoutProvider from an account, and declares its name."""

    @property
    def adapter(self) -> str: ...  # its name in TALLY_PAYOUT_PROVIDERS

    def __call__(self, name: str, url: str, api_key: str, webhook_secrets: tuple[str, ...]) -> PayoutProvider: ...


@cache
def adapters() -> Mapping[str, Adapter]:
    """The adapters of all modules in `psp/` by name. A new PSP is a module, and an account in the settings."""
    found: list[Adapter] = [module.ADAPTER for module in _modules() if hasattr(module, "ADAPTER")]
    return {adapter.adapter: adapter for adapter in found}


@cache
def provider_adapters() -> Mapping[str, ProviderAdapter]:
    """The adapters of pay-out providers by name."""
    found: list[ProviderAdapter] = [module.PROVIDER for module in _modules() if hasattr(module, "PROVIDER")]
    return {adapter.adapter: adapter for adapter in found}


def _modules() -> list[ModuleType]:
    return [import_module(f"{psp.__name__}.{found.name}") for found in iter_modules(psp.__path__)]


def make_psps(accounts: Iterable[PspAccount]) -> dict[str, Psp]:
    """One adapter for each account, by the account's name."""
    return {account.name: _make(account) for account in accounts}


def make_providers(accounts: Iterable[PayoutProviderAccount]) -> dict[str, PayoutProvider]:
    """One adapter for each account at a pay-out provider, by the account's name."""
    return {
        account.name: provider_adapters()[account.adapter](
            account.name, account.url.rstrip("/"), account.api_key, account.webhook_secrets
        )
        for account in accounts
    }


def _make(account: PspAccount) -> Psp:
    make = adapters()[account.adapter]
    return make(account.name, account.url.rstrip("/"), account.api_key, account.webhook_secrets)
