"""Log lines of this process and its libraries → JSON lines on stderr."""

from __future__ import annotations

import logging
import sys
import time

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from topics.settings import Settings

REPEATED_AFTER_S = 10.0
TEXTS_MAX = 1000


class Repeats(logging.Filter):
    """Lets a library's line pass once in REPEATED_AFTER_S: without a broker aiokafka writes a hundred a second (seen)."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        line, now = (record.name, record.getMessage()), time.monotonic()
        if now - self._passed.get(line, -REPEATED_AFTER_S) < REPEATED_AFTER_S:
            return False
        if len(self._passed) >= TEXTS_MAX:
            self._passed.clear()
        self._passed[line] = now
        return True


def configure_logs(settings: Settings) -> None:
    """Libraries' lines, librdkafka's included, pass from level `warning` on."""
    common: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),  # locals hold names
    ]
    rendered = structlog.processors.JSONRenderer()
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*common, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *common, rendered],
        )
    )
    handler.addFilter(Repeats())
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.captureWarnings(True)
