"""A file's way: stored → read and gated by a reader → folded → settled; held, withdrawn, superseded. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from reconciliation import notifying, schedule, settling
from reconciliation.breaking import Finding, judged
from reconciliation.expected import Sources, account_of
from reconciliation.state import (
    Change,
    ChunkFolded,
    ChunkWithdrawn,
    ClaimsMade,
    File,
    FileBegun,
    FileCame,
    FileMoved,
    FileState,
    Judged,
    NewFile,
    Progress,
    Reconciliation,
    Span,
    UnexplainedMoved,
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
ON = ":on"  # ends the key of SETTLE for a file's second slice, and those after it
WITHDRAW = "withdraw"
FOLD = "fold"  # again
SWEEP = "sweep"
MISSED = "missed"

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


def looked_at(state: Reconciliation, event: TimerFired, sources: Sources, now: datetime) -> Decision:
    """A file that the gate has refused is a break until it is discarded or released. One that it has read has come."""
    file = state.files[_name(event.timer_key)]
    item = f"file|{event.timer_key}"
    finding = None
    if file.state == "quarantined":
        detail = {"file": file.file_no, "name": file.called, "why": file.why}
        finding = Finding("FILE_REFUSED", event.timer_key, file.source, "", None, 0, detail)
    changes: list[Change] = list(judged(item, finding, state.items.get(item), now))
    if file.state in ("received", "reading"):
        return Decision(changes, timers=(_timer(LOOK, event.timer_key, now + READING_TAKES),))
    return files_missed(state, file.source, sources, now, changes)


def files_missed(
    state: Reconciliation, name: str, sources: Sources, now: datetime, changes: Iterable[Change] = ()
) -> Decision:
    """Which days of a source lack a file. The sweep judges what may be in those files."""
    source = sources.by_name.get(name)
    found = list(schedule.missing_files(state, source, now)) if source else []
    return Decision((*changes, *found), timers=(_timer(SWEEP, "", now),) if found else ())


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
    if file.state == "discarded":
        return NOTHING
    moved = FileMoved(replace(file, state="discarded"), now, event.reason)
    waited = state.items.get(restated_item(file)) if file.state == "held" else None
    decided = judged(restated_item(file), None, waited, now)
    timers = [_timer(LOOK, _key(event), now)]
    if file.state in _LINES_COUNT:
        timers.append(_timer(WITHDRAW, f"{file.file_no}:0:0", now))
    return Decision((moved, *decided), timers=tuple(timers))


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
    file = _by_number(state, settled_file(event.timer_key))
    if file is None or file.state != "folding":
        return NOTHING
    progress = state.progress[file.file_no]
    if not file.ended or not progress.is_whole or progress.unfolded:
        return Decision(timers=(_timer(SETTLE, event.timer_key, now + FOLDING_TAKES),))
    if progress.newest:
        superseded = (FileMoved(replace(file, state="superseded"), now), *_restated(state, file, progress, now))
        return Decision(superseded, timers=(_timer(WITHDRAW, f"{file.file_no}:0:0", now),))
    if (
        not is_judged_on(event.timer_key)
        and BRAKES.isdisjoint(file.released)
        and (why := _brake(file, progress, sources))
    ):
        held = FileMoved(replace(file, state="held", why=why), now)
        return Decision((held, *(_restated(state, file, progress, now, waits=True) if why == "restated" else ())))
    if progress.older:
        restated = tuple(_restated(state, file, progress, now))
        return Decision(restated, timers=(_timer(WITHDRAW, f"{progress.older[0]}:0:{file.file_no}", now),))
    changes = list(settling.judge(state, file.file_no, sources, now))
    again, told = looks_again(changes), tuple(notifying.events(changes))
    if file.file_no in state.more_odd:
        return Decision(changes, told, timers=(_timer(SETTLE, f"{file.file_no}{ON}", now), *again))
    changes += missing_in_sequence(state, file, sources, now)
    changes.append(FileMoved(replace(file, state="folded"), now))
    changes += [FileCame(account_of(source), now)] if (source := sources.by_name.get(file.source)) else []
    return Decision(changes, told, timers=(_timer(SWEEP, "", now), *again))


def settled_file(timer_key: str) -> int:
    return int(timer_key.removesuffix(ON))


def is_judged_on(timer_key: str) -> bool:
    """Whether slices of the file are judged already: the brake has let it pass."""
    return timer_key.endswith(ON)


def looks_again(changes: Sequence[Change]) -> list[Timer]:
    """Sweeps for references that wait until we have heard more, or for a file."""
    found = [each for each in changes if isinstance(each, Judged)]
    looks = [each.again_at for each in found if each.again] + [each.waiting_until for each in found if each.waiting]
    looks += [each.at for each in changes if isinstance(each, UnexplainedMoved) and each.again]
    return [_timer(SWEEP, "", at) for at in looks]


def _brake(file: File, progress: Progress, sources: Sources) -> str | None:
    """Why a file must be held: too much of it is odd in one way (wrong units, wrong contract), or a person must say which of
    two versions is the newer."""
    source, restated = sources.by_name.get(file.source), progress.restated
    if restated and not file.version:
        return "restated"
    if source and restated and any(abs(moved) > _in_minor(source.restate_limit, of) for of, moved in restated.moved):
        return "restated"
    if progress.odd is None:
        return None
    limit = max(BRAKE_AT_LEAST, progress.odd.known // BRAKE_SHARE)
    if progress.odd.amounts > limit:
        return "amounts"
    return "fees" if progress.odd.fees > limit else None


def _in_minor(amount: str, currency: str) -> Decimal:
    return Decimal(amount).scaleb(exponent(currency))


def missing_in_sequence(state: Reconciliation, file: File, sources: Sources, now: datetime) -> Iterator[Change]:
    """Numbers between those of a source's files that no file has. What such a file would hold is of days between theirs."""
    days = state.sequences.get(file.source, {})
    source = sources.by_name.get(file.source)
    for before, after in pairwise(sorted(days)):
        for number in range(before, after):
            subject = f"{file.source}/{number}"
            item = f"sequence|{subject}"
            finding = None
            if number > before:
                span = Span(days[before].first, days[after].last)
                finding = schedule.missing_file(file.source, subject, span)
            yield from schedule.and_late(source, judged(item, finding, state.items.get(item), now), now)


def withdrawn(state: Reconciliation, event: TimerFired, sources: Sources, now: datetime) -> Decision:
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
        if file.state != "discarded":  # meanwhile
            changes.append(FileMoved(replace(file, state="superseded"), now))
        return Decision(changes, timers=(_timer(SETTLE, str(new), now),))
    before = state.progress[old].superseded if file.state == "discarded" else None
    again = [_timer(FOLD, f"{before}:0:{old}", now)] if before else []
    if source := sources.by_name.get(file.source):
        changes += schedule.missing_files(state, source, now)
    return Decision(changes, timers=(_timer(SWEEP, "", now), *again))


def restated_item(file: File) -> str:
    """What the break of a file's versions is about: the same, whichever came first."""
    return f"restated|{file.source}/{file.identity}"


def _restated(
    state: Reconciliation, file: File, progress: Progress, now: datetime, *, waits: bool = False
) -> Iterator[Change]:
    """A newer version that waits for a person is a break until then. Of others the difference is booked: the break is only
    recorded, with how much more or less is claimed."""
    item, restated = restated_item(file), progress.restated
    opened = state.items.get(item)
    if restated is None or (opened and not waits):
        yield from judged(item, None, opened, now)
        return
    moved: dict[str, int] = defaultdict(int)
    for currency, minor in restated.moved:
        moved[currency] += minor
    only, amount = min(moved.items()) if len(moved) == 1 else (None, 0)
    detail: dict[str, object] = {"older": restated.old, "newer": restated.new, "moved": dict(moved)}
    if waits:
        detail["waits"] = True  # for two persons
    finding = Finding("FILE_RESTATED", f"{file.source}/{file.identity}", file.source, "", only, amount, detail)
    yield from judged(item, finding, opened, now, closed=not waits)


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
