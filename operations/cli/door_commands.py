"""A command of an operator → done in the doors' store, and published before the command ends."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from producers.doors.commands import Command
    from topics.settings import Settings

Result = TypeVar("Result")


def run_command(settings: Settings, command: Command[Result]) -> Result:
    """Errors: Problem."""
    from producers.doors.commands import claim
    from producers.doors.commits import Commits

    with closing(Commits(settings, claim)) as commits:
        result: Result = commits.take_alone(command)
        return result
