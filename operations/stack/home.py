"""The folder of one installation: its secret, its ports, its data, its logs, and what is running."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class StackError(Exception):
    """The local stack cannot do this; the message is for the user."""


class NoStack(StackError):
    """Nothing says where the servers are: no stack was started in this folder, and no setting names one elsewhere."""

    def __init__(self) -> None:
        super().__init__("no stack is running here: start one with `tally up`")


KEPT_NAMES = (
    *("secret", "ports.json", "api-key", "environment", "state.json", "holder.json", "lock", "clock", "run", "logs"),
    *("kafka", "postgres", "simulator", "bank"),
)
DRAFTS = ("postgres.", *(f".{name}." for name in KEPT_NAMES))  # left by a kill in the middle of writing
CHECKOUT = Path(__file__).resolve().parents[2]


def checkout_docs(otherwise: str) -> Path:
    """The checkout's docs/. Errors: StackError in an installed package, which has none; the message names the option."""
    docs = CHECKOUT / "docs"
    if not docs.is_dir():
        raise StackError(f"this is no checkout and has no docs/: {otherwise} says where to")
    return docs


@dataclass(frozen=True)
class Home:
    """Paths below `<home>/`, all private to the user who made it."""

    path: Path

    @property
    def secret(self) -> Path:
        return self.path / "secret"

    @property
    def ports(self) -> Path:
        return self.path / "ports.json"

    @property
    def api_key(self) -> Path:
        return self.path / "api-key"

    @property
    def environment(self) -> Path:
        """The `TALLY_…` settings that the running stack's processes were given."""
        return self.path / "environment"

    @property
    def state(self) -> Path:
        return self.path / "state.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def holder(self) -> Path:
        """The file with the pid of the process that holds the lock, or held it last."""
        return self.path / "holder.json"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def kafka(self) -> Path:
        return self.path / "kafka"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def simulator(self) -> Path:
        return self.path / "simulator"

    @property
    def bank(self) -> Path:
        """The folders that we and the simulator's bank share: `out`, `sent` and `statuses`."""
        return self.path / "bank"

    @property
    def demo_list(self) -> Path:
        return self.simulator / "lists" / "demo-sanctions.txt"

    @property
    def clock(self) -> Path:
        return self.path / "clock"

    def prepare(self) -> None:
        """Make the folder, its private parts and its secret, where they are not there yet. Errors: StackError."""
        if not is_sayable(self.path):
            raise StackError(
                f"TALLY_HOME: {self.path} cannot be used: PostgreSQL and settings take no control characters in a name,"
                " and no letters that are not UTF-8"
            )
        try:
            self._make()
        except OSError as error:
            raise StackError(
                f"TALLY_HOME: {self.path} cannot be made private and written to: {error.strerror}"
            ) from None

    def _make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        for folder in (self.run, self.logs, self.kafka, self.simulator, self.bank):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not self.secret.exists():
            write_private(self.secret, secrets.token_hex(32) + "\n")

    def purge(self) -> bool:
        """Delete what an installation keeps here, and the folder if nothing else is in it. Returns whether it was one.

        By name: nobody who points TALLY_HOME at a folder of their own shall lose what else is there.
        """
        if not self.secret.exists():
            return False
        for entry in self.path.iterdir():
            if entry.name in KEPT_NAMES or entry.name.startswith(DRAFTS):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()
        return True


def is_sayable(path: Path) -> bool:
    """Whether the path can be passed to every process: on command lines, in settings, and in files with a path per line."""
    try:
        return not any(byte < 0x20 or byte == 0x7F for byte in str(path).encode())
    except UnicodeEncodeError:
        return False


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, readable by its owner alone; a reader sees the old text or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    draft.replace(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_private(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What the file holds, or nothing: a missing or broken file is as good as none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
