"""A file of pay-outs for a bank: what its states are, and what the bank's word about the whole file makes of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from psp.payout_port import Accepted
from psp.replies import NothingHappened
from schemas.envelope import digest
from schemas.errors import Permanent
from schemas.payouts import BankFileNotified

FileState = Literal["closed", "delivering", "delivered", "unresolved", "not_delivered", "rejected"]
UNKNOWN: tuple[FileState, ...] = ("delivering", "unresolved")  # it may be at the bank


@dataclass(frozen=True, slots=True)
class BankFile:
    """A file as the executor has it: closed, its lines fixed; delivering, so that nobody writes it again; and what followed.

    The answer to its calls follows from its state: `reply_of`.
    """

    file_id: str
    provider: str
    state: FileState
    changed_at: datetime
    code: str | None = None

    def to(self, state: FileState, now: datetime, code: str | None = None) -> BankFile:
        return replace(self, state=state, changed_at=now, code=code)


def file_id_of(provider: str, cut_off: datetime, currency: str, number: int) -> str:
    """32 hex digits: the file's MsgId."""
    parts = (b"file", provider.encode(), str(int(cut_off.timestamp())).encode(), currency.encode(), b"%d" % number)
    return digest(*parts).replace("-", "")


def holder_of(file_id: str) -> str:
    """By whom the calls of a file are held."""
    return f"file:{file_id}"


def reference_of(file_id: str, position: int) -> str:
    """What a line is called at the bank, in place of a reference of the bank's own."""
    return f"{file_id}-{position}"


def reply_of(state: FileState, file_id: str, position: int) -> dict[str, object] | None:
    """The answer to the call of a line; None while nobody knows. A bank that rejects a file has had it."""
    match state:
        case "delivered" | "rejected":
            return Accepted(reference_of(file_id, position)).to_json()
        case "not_delivered":
            return NothingHappened("not_delivered").to_json()
    return None


def hear(file: BankFile | None, event: BankFileNotified, now: datetime) -> BankFile | None:
    """The file after the bank's word, or that of two persons; None: nothing changes. What becomes of its lines is said of each.

    Errors: Permanent `no_such_file`, `contradiction`.
    """
    if file is None or file.provider != event.provider:
        raise Permanent("no_such_file", f"{event.provider} never got {event.reference}", ours=False)
    match event.source, event.status:
        case ("operator", "rejected") | ("bank_file", "not_delivered"):
            raise Permanent("contradiction", f"{event.source} cannot say {event.status}", ours=False)
        case "operator", _ if file.state == "delivering":
            return None  # it gets its name at any moment, or is looked for
        case _, "not_delivered":
            return file.to("not_delivered", now) if file.state == "unresolved" else None
        case _ if file.state in ("closed", "not_delivered"):
            raise Permanent("contradiction", f"{file.file_id} is {file.state}, and the bank has it", ours=False)
        case _, "taken":
            return file.to("delivered", now) if file.state in UNKNOWN else None
        case _:
            return None if file.state == "rejected" else file.to("rejected", now, event.code)
