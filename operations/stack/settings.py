"""The settings of an installation and of all its rooms, as entry points read them: a wrong setting stops any start."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.executor.settings import ExecutorSettings
from consumers.payments.settings import PaymentsSettings
from consumers.risk.settings import RiskSettings
from topics.settings import load


class AllSettings(ExecutorSettings, PaymentsSettings, RiskSettings):
    """Everything that an installation may choose."""


def load_settings(beside: Mapping[str, str] | None = None, /, **overrides: object) -> AllSettings:
    """From the environment, else from `beside`. Errors: SettingsError, one line that names the setting."""
    return load(AllSettings, beside, **overrides)
