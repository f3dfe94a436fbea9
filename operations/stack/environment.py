"""Settings ↔ the text of `.tally/environment`, which this codec and every POSIX shell read alike."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from topics.settings import SettingsError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def as_text(environment: Mapping[str, str]) -> str:
    """One assignment after the other. A name that no shell can hold is no setting of ours, and left out."""
    kept = sorted((name, value) for name, value in environment.items() if _NAME.fullmatch(name))
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in kept)


def from_text(text: str) -> dict[str, str]:
    """The reverse of `as_text`. Errors: ValueError if the text is anything but assignments to a shell."""
    assignments = [word.partition("=") for word in shlex.split(text, comments=True)]
    for name, equals, _ in assignments:
        if not equals or not _NAME.fullmatch(name):
            raise ValueError("not NAME=value")
    return {name: value for name, _, value in assignments}


def read_environment(path: Path) -> dict[str, str]:
    """The settings in that file; none where there is no file. Errors: SettingsError, which shows no value."""
    try:
        return from_text(path.read_bytes().decode("utf-8", "surrogateescape"))
    except OSError:
        return {}
    except ValueError as error:
        raise SettingsError(f"{path}: not readable as settings ({error}); `tally up` writes it anew") from None
