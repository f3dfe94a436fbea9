"""What an operator asks for → done in the doors' store, and published before the command ends."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from producers.doors.commands import Command
    from producers.doors.commits import Claim
    from topics.settings import Settings

Request = TypeVar("Request")
Answer = TypeVar("Answer")


def run_command(settings: Settings, command: Command[Answer]) -> Answer:
    """Errors: Problem."""
    from producers.doors.commands import claim

    answer: Answer = take(settings, claim, command)
    return answer


def take(settings: Settings, claim: Claim[Request, Answer], request: Request) -> Answer:
    """Errors: Problem."""
    from producers.doors.commits import Commits

    log_to_stderr()
    with closing(Commits(settings, claim)) as commits:
        return commits.take_alone(request)


def log_to_stderr() -> None:
    """Before code of the doors runs in a command: unless told, structlog writes to stdout, amid what a program reads."""
    import structlog

    if not structlog.is_configured():
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
