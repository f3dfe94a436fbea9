"""A file's way: stored → read and gated by a reader → folded → settled; held, withdrawn, superseded. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from reconciliation import settling
from reconciliation.breaking import Finding, judged
from reconciliation.expected import Sources
from reconciliation.state import (
    Change,
    ChunkFolded,
    ChunkWithdrawn,
    ClaimsMade,
    File,
    FileBegun,
    FileMoved,
    FileState,
    Judged,
    NewFile,
    Progress,
    Reconciliation,
    Withdrawn,
)
from schemas.errors import Permanent, Transient
from schemas.events import TimerFired
from schemas.money import exponent
from schemas.settlements import (
    SettlementFileDiscarded,
    SettlementFileReleased,
    SettlementFileStored,
    SettlementLines,
    SettlementLinesEnded,
)
from topics.runtime.shape.consumer import Decision, Timer

NOTHING = Decision()

LOOK = "file"  # timers
SETTLE = "settle"
WITHDRAW = "withdraw"
FOLD = "fold"  # again
SWEEP = "sweep"

READING_TAKES = timedelta(seconds=15)
FOLDING_TAKES = timedelta(seconds=1)
BRAKES = frozenset({"restated", "amounts", "fees"})  # why the brake holds a file
BRAKE_AT_LEAST = 50
BRAKE_SHARE = 20  # a twentieth of the lines whose reference is known
CHUNKS_A_SLICE = 10
_LINES_COUNT: tuple[FileState, ...] = ("folding", "held", "folded")


def stored(state: Reconciliation, event: SettlementFileStored, now: datetime) -> Decision:
    if (event.source, event.file_id) in state.files:
        return NOTHING
    return Decision((NewFile(event, now),), timers=(_timer(LOOK, _key(event), now + READING_TAKES),))


def looked_at(state: Reconciliation, event: TimerFired, now: datetime) -> Decision:
    """A file that the gate has refused is a break until it is discarded, released, or replaced."""
    file = state.files[_name(event.timer_key)]
    item = f"file|{event.timer_key}"
    finding = None
    if file.state == "quarantined":
        finding = Finding("FILE_REFUSED", event.timer_key, file.source, "", None, 0, {"file": file.file_no})
    changes = tuple(judged(item, finding, state.items.get(item), now))
    waits = file.state in ("received", "reading")
    return Decision(changes, timers=(_timer(LOOK, event.timer_key, now + READING_TAKES),) if waits else ())


def released(state: Reconciliation, event: SettlementFileReleased, now: datetime) -> Decision:
    """Two persons take the file as it is: a held one is settled, a refused one is read again without its refusal."""
    file = _file(state, event.source, event.file_id)
    if file.state not in ("held", "quarantined"):
        return NOTHING
    by = f"{event.proposed_by}, {event.released_by}"
    to: FileState = "folding" if file.state == "held" else "received"
    released = (*file.released, file.why) if file.why else file.released
    moved = replace(file, state=to, why=None, released_by=by, released=released)
    timer = _timer(SETTLE, str(file.file_no), now) if file.state == "held" else _timer(LOOK, _key(event), now)
    return Decision((FileMoved(moved, now, event.reason),), timers=(timer,))


def discarded(state: Reconciliation, event: SettlementFileDiscarded, now: datetime) -> Decision:
    """Nothing of the file counts: what is folded of it is withdrawn."""
    file = _file(state, event.source, event.file_id)
    if file.state in ("discarded", "superseded"):
        return NOTHING
    moved = FileMoved(replace(file, state="discarded"), now, event.reason)
    timers = [_timer(LOOK, _key(event), now)]
    if file.state in _LINES_COUNT:
        timers.append(_timer(WITHDRAW, f"{file.file_no}:0:0", now))
    return Decision((moved,), timers=tuple(timers))


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def lines(state: Reconciliation, event: SettlementLines, now: datetime) -> Decision:
    """Errors: Transient `file_unknown`; Permanent `wrong_lines`."""
    file = _file(state, event.source, event.file_id)
    if file.state in ("discarded", "superseded") or _is_of_a_former_reading(event, file):
        return NOTHING
    if event.scale:
        raise Permanent("wrong_lines", "lines with finer digits than minor units are not read yet")
    return Decision((*_folding(file, now), ChunkFolded(file.file_no, event, now)))


def ended(state: Reconciliation, event: SettlementLinesEnded, now: datetime) -> Decision:
    file = _file(state, event.source, event.file_id)
    if file.state in ("discarded", "superseded") or _is_of_a_former_reading(event, file):
        return NOTHING
    moved = replace(file, state=_begun(file), ended=True, chunks=event.chunks, lines=event.lines)
    claims = ClaimsMade(file.file_no, event.source, event.psp, event.claims, now)
    return Decision((FileMoved(moved, now), claims), timers=(_timer(SETTLE, str(file.file_no), now),))


def _is_of_a_former_reading(event: SettlementLines | SettlementLinesEnded, file: File) -> bool:
    """Another version of the reader has taken the file over, and says all of it."""
    return file.reader is not None and event.reader != file.reader


def _folding(file: File, now: datetime) -> tuple[FileBegun, ...]:
    state = _begun(file)
    return () if state == file.state else (FileBegun(replace(file, state=state), now),)


def _begun(file: File) -> FileState:
    return "folding" if file.state in ("received", "reading", "gated") else file.state


def _file(state: Reconciliation, source: str, file_id: str) -> File:
    """Errors: Transient `file_unknown`: another partition lags behind."""
    try:
        return state.files[source, file_id]
    except KeyError:
        raise Transient("file_unknown", f"{file_id} of {source} is not heard of yet") from None


# ── settle: once every chunk is in ───────────────────────────────────────────────────────────────────────────────────


def settled(state: Reconciliation, event: TimerFired, sources: Sources, now: datetime) -> Decision:
    """Wait for all chunks, hold what is odd in one way, withdraw what the file replaces, judge, and let it be booked."""
    file = _by_number(state, int(event.timer_key))
    if file is None or file.state != "folding":
        return NOTHING
    progress = state.progress[file.file_no]
    if not file.ended or file.chunks is None or progress.chunks < file.chunks or progress.unfolded:
        return Decision(timers=(_timer(SETTLE, event.timer_key, now + FOLDING_TAKES),))
    if progress.newer:
        superseded = FileMoved(replace(file, state="superseded"), now)
        return Decision((superseded,), timers=(_timer(WITHDRAW, f"{file.file_no}:0:0", now),))
    if BRAKES.isdisjoint(file.released) and (why := _brake(file, progress, sources)):
        return Decision((FileMoved(replace(file, state="held", why=why), now),))
    if progress.older:
        old = progress.older[0]
        return Decision(timers=(_timer(WITHDRAW, f"{old}:0:{file.file_no}", now),))
    changes = list(settling.judge(state, file.file_no, sources, now))
    again = looks_again(changes)
    if file.file_no in state.more_odd:
        return Decision(changes, timers=(_timer(SETTLE, event.timer_key, now), *again))
    changes += missing_in_sequence(state, file, now)
    changes.append(FileMoved(replace(file, state="folded"), now))
    return Decision(changes, timers=(_timer(SWEEP, "", now), *again))


def looks_again(changes: Sequence[Change]) -> list[Timer]:
    """Sweeps for references that wait until we have heard more."""
    return [_timer(SWEEP, "", each.again_at) for each in changes if isinstance(each, Judged) and each.again]


def _brake(file: File, progress: Progress, sources: Sources) -> str | None:
    """Why a file must be held: too much of it is odd in one way (wrong units, wrong contract), or a person must say which of
    two versions is the newer."""
    if progress.older and not file.version:
        return "restated"
    source = sources.by_name.get(file.source)
    if source and any(abs(minor) > _in_minor(source.restate_limit, currency) for currency, minor in progress.restates):
        return "restated"
    limit = max(BRAKE_AT_LEAST, progress.known // BRAKE_SHARE)
    if progress.amounts > limit:
        return "amounts"
    return "fees" if progress.fees > limit else None


def _in_minor(amount: str, currency: str) -> Decimal:
    return Decimal(amount).scaleb(exponent(currency))


def missing_in_sequence(state: Reconciliation, file: File, now: datetime) -> Iterator[Change]:
    """Numbers between those of a source's files that no file has."""
    numbers = state.sequences.get(file.source, frozenset())
    for number in range(min(numbers, default=0), max(numbers, default=0)):
        item = f"sequence|{file.source}/{number}"
        subject = f"{file.source}/{number}"
        finding = None
        if number not in numbers:
            finding = Finding("FILE_MISSING", subject, file.source, "", None, 0, {"number": number})
        yield from judged(item, finding, state.items.get(item), now)


def withdrawn(state: Reconciliation, event: TimerFired, now: datetime) -> Decision:
    """Take back a slice of the lines of a file that counts no more. After the last, go on with the file that replaces it, or
    with the one that it had replaced."""
    old, _, new = map(int, event.timer_key.split(":"))
    said = state.chunks[event.timer_key]
    changes: list[Change] = [ChunkWithdrawn(old, each, now) for each in said]
    if len(said) == CHUNKS_A_SLICE:
        return Decision(changes, timers=(_timer(WITHDRAW, f"{old}:{said[-1].chunk + 1}:{new}", now),))
    changes.append(Withdrawn(old))
    file = _by_number(state, old)
    if file is None:
        return Decision(changes)
    if new:
        changes.append(FileMoved(replace(file, state="superseded"), now))
        changes += _restated(state, file, new, now)
        return Decision(changes, timers=(_timer(SETTLE, str(new), now),))
    before = state.progress[old].superseded if file.state == "discarded" else None
    again = [_timer(FOLD, f"{before}:0:{old}", now)] if before else []
    return Decision(changes, timers=(_timer(SWEEP, "", now), *again))


def _restated(state: Reconciliation, file: File, new: int, now: datetime) -> Iterator[Change]:
    """The difference of two versions is booked: the break is only recorded."""
    subject = f"{file.source}/{file.file_id}"
    item = f"restated|{subject}"
    finding = Finding("FILE_RESTATED", subject, file.source, "", None, 0, {"file": file.file_no, "replaced_by": new})
    yield from judged(item, finding, state.items.get(item), now, closed=True)


def folded_again(state: Reconciliation, event: TimerFired, now: datetime) -> Decision:
    """Fold a slice of a file whose replacement is discarded: it counts again. One that was never folded is read anew."""
    file_no, _, discarded = map(int, event.timer_key.split(":"))
    file = _by_number(state, file_no)
    if file is None or file.state not in ("superseded", "folding"):
        return NOTHING
    if not file.ended:
        moved = FileMoved(replace(file, state="received"), now)
        return Decision((moved,), timers=(_timer(LOOK, f"{file.source}/{file.file_id}", now),))
    said = state.chunks[event.timer_key]
    changes: list[Change] = [ChunkFolded(file_no, each, now) for each in said]
    if file.state != "folding":
        changes.append(FileMoved(replace(file, state="folding"), now))
    if len(said) == CHUNKS_A_SLICE:
        return Decision(changes, timers=(_timer(FOLD, f"{file_no}:{said[-1].chunk + 1}:{discarded}", now),))
    return Decision(changes, timers=(_timer(SETTLE, str(file_no), now),))


def _by_number(state: Reconciliation, file_no: int) -> File | None:
    return next((file for file in state.files.values() if file.file_no == file_no), None)


def _timer(kind: str, key: str, at: datetime) -> Timer:
    return Timer(kind, key, at)


def _key(event: SettlementFileStored | SettlementFileReleased | SettlementFileDiscarded) -> str:
    return f"{event.source}/{event.file_id}"


def _name(key: str) -> tuple[str, str]:
    source, _, file_id = key.partition("/")
    return source, file_id
