"""PSP accounts from the settings → adapters by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from psp.northpay import Northpay
from psp.port import Psp
from psp.southpay import Southpay
from topics.settings import PspAccount


def make_psps(accounts: Iterable[PspAccount]) -> dict[str, Psp]:
    """One adapter for each account, by the account's name."""
    return {account.name: _adapter(account) for account in accounts}


def _adapter(account: PspAccount) -> Psp:
    url = account.url.rstrip("/")
    match account.adapter:
        case "northpay":
            return Northpay(account.name, url, account.api_key, account.webhook_secrets)
        case "southpay":
            return Southpay(account.name, url, account.api_key, account.webhook_secrets)
        case _:
            assert_never(account.adapter)
