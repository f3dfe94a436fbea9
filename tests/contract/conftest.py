"""Fixtures of the runtime's suites."""

from tests.contract.probing import books, log, on_kafka, other, probe_database, process, settings, swept_soon

__all__ = ["books", "log", "on_kafka", "other", "probe_database", "process", "settings", "swept_soon"]
