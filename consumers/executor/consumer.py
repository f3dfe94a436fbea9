"""payment orders, pay-outs, PSPs' and providers' notifications, breaks and the sender's replies → executor → executions"""

from __future__ import annotations

from functools import partial

from consumers.executor import store
from consumers.executor.decide import Heard, decide
from consumers.executor.filer import run_filer
from consumers.executor.repeating import run_repeater
from consumers.executor.routing import Routing
from consumers.executor.sender import run_sender
from consumers.executor.settings import ExecutorSettings
from consumers.executor.state import Attempts, Policy
from consumers.executor.stuck import stuck
from psp.registry import make_providers, make_psps
from topics import catalog
from topics.runtime.shape.consumer import Consumer


def build(settings: ExecutorSettings) -> Consumer[Attempts, Heard]:
    """The room. Errors: SettingsError if a routing rule names a PSP that is not in the settings."""
    declared = {name: psp.declared for name, psp in make_psps(settings.psps).items()}
    providers = {name: provider.declared for name, provider in make_providers(settings.http_providers).items()}
    policy = Policy(
        Routing.of(settings), declared, settings.failover, providers=providers, banks=settings.bank_accounts.keys()
    )
    return Consumer(
        room=catalog.EXECUTOR_ROOM,
        load=store.lock,
        decide=partial(decide, policy),
        save=store.save,
        find_stuck=stuck,
        side_tasks={"sender": run_sender, "filer": run_filer, "repeater": run_repeater},
    )
