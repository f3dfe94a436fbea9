"""Bank files, their lines and calls, and what lies in the banks' folders → what does not agree."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from operations.auditor.engine.findings import Finding
from operations.auditor.engine.stores import Stores
from topics.payout_accounts import BankFileAccount

WHOLE = "bank_files_whole"
SETTLED = ("delivered", "rejected", "not_delivered")
NOT_LEFT = ("closed", "not_delivered")

_FILES = "SELECT file_id, provider, currency, state, transactions, total_minor, sha256 FROM bank_file_view"
# One statement: a file is settled and its calls are answered in one transaction. Only of its present release does a pay-out
# say what was sent.
_LINES = """
SELECT l.call_id, l.payout_id, l.amount_minor, c.payout_id, c.psp, c.state, p.sent_minor, p.sent_currency, f.state
FROM bank_file_view f JOIN bank_file_line_view l USING (file_id)
LEFT JOIN call_view c ON c.call_id = l.call_id
LEFT JOIN payout_view p ON p.payout_id = l.payout_id AND p.call_id = l.call_id
WHERE f.file_id = %s ORDER BY l.position
"""
_NAME = re.compile(r"[0-9a-f]{32}")


class AuditedLine(NamedTuple):
    """A line, and the call and the pay-out that it stands for. Amounts are in minor units."""

    call_id: str
    payout_id: str
    amount: int
    called: str | None  # the pay-out of the call; None: there is no such call
    psp: str | None
    call_state: str | None
    sent: int | None  # None: an earlier release
    sent_currency: str | None
    file_state: str


class AuditedFile(NamedTuple):
    file_id: str
    provider: str
    currency: str
    state: str
    transactions: int
    total: int  # minor units
    sha256: str | None  # None: not written yet
    lines: Sequence[AuditedLine]
    lying: Collection[str]  # digests of what lies in its bank's folders under its name


class BankFolders:
    """What lies in banks' folders, as far as it can be read from here."""

    def __init__(self, banks: Iterable[BankFileAccount]) -> None:
        self.unread: list[str] = []
        self._paths: dict[str, list[Path]] = defaultdict(list)
        for bank in banks:
            for folder in (bank.out, bank.sent):
                if folder is not None:
                    self._list(folder)

    def _list(self, folder: Path) -> None:
        try:
            for path in folder.iterdir():
                if path.suffix == ".xml" and not path.name.startswith(".") and (name := _NAME.search(path.name)):
                    self._paths[name[0]].append(path)
        except OSError:
            self.unread.append(str(folder))

    def digests(self, file_id: str) -> set[str]:
        return {found for path in self._paths.get(file_id, ()) if (found := self._digest(path)) is not None}

    def _digest(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None  # just taken away
        except OSError:
            self.unread.append(str(path))
            return None


def read(stores: Stores, folders: BankFolders, file_ids: Sequence[str] | None = None) -> Iterator[AuditedFile]:
    """These files, or all. One at a time: a file may be long."""
    wanted = (_FILES, ()) if file_ids is None else (f"{_FILES} WHERE file_id = ANY(%s)", [list(file_ids)])
    for row in stores.rows("executor", *wanted):
        lines = [AuditedLine(*line) for line in stores.rows("executor", _LINES, [row[0]])]
        yield AuditedFile._make((*row, lines, folders.digests(row[0])))


def compare(file: AuditedFile) -> Iterator[Finding]:
    """Pure."""
    for wrong in (*_head(file), *_in_folders(file)):
        yield Finding(WHOLE, file.file_id, wrong)
    for line in file.lines:
        for wrong in _line(file, line):
            yield Finding(WHOLE, file.file_id, f"{line.call_id}: {wrong}")


def _head(file: AuditedFile) -> Iterator[str]:
    told, summed = (file.transactions, file.total), (len(file.lines), sum(line.amount for line in file.lines))
    if told != summed:
        yield f"it tells {told[0]} lines of {told[1]} in all, and has {summed[0]} of {summed[1]}"


def _in_folders(file: AuditedFile) -> Iterator[str]:
    if file.lying and file.state in NOT_LEFT:
        yield f"it is {file.state}, and lies in a folder of {file.provider}"
    elif file.lying and file.sha256 not in file.lying:
        yield f"what lies in a folder of {file.provider} is not what was written"


def _line(file: AuditedFile, line: AuditedLine) -> Iterator[str]:
    if (line.called, line.psp) != (line.payout_id, file.provider):
        yield f"a line of {line.payout_id} to {file.provider}, and its call is of {line.called} to {line.psp}"
    if line.sent is not None and (line.sent, line.sent_currency) != (line.amount, file.currency):
        yield f"a line of {line.amount} {file.currency}, and the pay-out is of {line.sent} {line.sent_currency}"
    if line.call_state == "due" or (line.call_state == "sending" and line.file_state in SETTLED):
        yield f"its call is {line.call_state}, and the file is {line.file_state}"
