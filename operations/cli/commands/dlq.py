"""`tally dlq …`: dead letters, listed, replayed, edited or discarded by a person with a reason."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from operations.cli.cut import cut
from operations.cli.letters.choosing import (
    Actor,
    AsJson,
    ChosenLetters,
    LetterFilter,
    MaybeReason,
    Reason,
    audit_note,
    failed,
    known_room,
    one_letter,
    required_reason,
    with_chosen_letters,
    with_letter_filter,
)
from operations.cli.terminal import note, say, say_json, visible

if TYPE_CHECKING:
    from topics.runtime.dead_letters.pacing import Act, ActTotals

app = typer.Typer(help="Dead letters: list, show, replay, edit, discard.", no_args_is_help=True)

WAIT_S = 60.0

EACH_MAX = 1000

Id = Annotated[str, typer.Argument(metavar="ID", help="As `tally dlq list` shows it, or ROOM/ID.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done to each letter; change nothing.")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", min=0, help="Seconds to wait for the results, after the last one that came; 0: do not wait."
    ),
]
Rate = Annotated[int | None, typer.Option("--rate", min=1, max=100_000, help="Letters a second, at most.")]


# ── look ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@app.command("list")
@with_letter_filter
def list_(
    sought: LetterFilter,
    *,
    each: Annotated[bool, typer.Option("--each", help="One line for each letter, not for each group.")] = False,
    everything: Annotated[
        bool, typer.Option("--waiting", help="With --each: also messages that only wait behind a letter of their key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Dead letters, and parked ones that are retried automatically: by room, code and age."""
    if each or everything:
        _list_each(sought, everything, as_json)
    else:
        _list_groups(sought, as_json)


def _list_groups(sought: LetterFilter, as_json: bool) -> None:
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters.listing import group_letters
    from topics.runtime.shape.clock import Clock

    settings = current_settings()
    found = group_letters(settings, Clock(settings.clock_file).now(), sought.room, sought.filter)
    if as_json:
        _print_json([asdict(group) for group in found])
    elif found:
        from operations.cli.letters import shown

        shown.groups(found)
    else:
        note("no dead or parked letters")


def _list_each(sought: LetterFilter, followers: bool, as_json: bool) -> None:
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters.listing import list_letters

    settings = current_settings()
    letters = list_letters(settings, sought.room, limit=EACH_MAX + 1, followers=followers, wanted=sought.filter)
    found = cut(
        letters, EACH_MAX, "ask for fewer by --room, --code, --topic, --key or --from, or `tally dlq export` them"
    )
    if as_json:
        _print_json([asdict(letter) for letter in found])
    elif found:
        from operations.cli.letters import shown

        shown.letters(found)
    else:
        note("no dead or parked letters")


@app.command()
def show(id_: Id, as_json: AsJson = False) -> None:
    """One letter in full: contents, error with its stack, attempts, what waits behind it, whether its effect stands."""
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters.index import as_text
    from topics.runtime.dead_letters.listing import details

    settings = current_settings()
    found = details(settings, *one_letter(settings, id_))
    if as_json:
        fields = asdict(found)
        contents = as_text("value", fields.pop("value")) | as_text("edit", fields.pop("edit"))
        _print_json(fields.pop("letter") | fields | contents)
    else:
        from operations.cli.letters import shown

        say(*shown.page(found))


@app.command()
@with_letter_filter
def export(
    sought: LetterFilter,
    *,
    parked: Annotated[
        bool, typer.Option("--parked", help="Also parked letters, which are retried automatically.")
    ] = False,
) -> None:
    """Dead letters as JSON lines, with their contents; oldest first."""
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters import index as letter_index

    settings, number = current_settings(), 0
    for row in letter_index.export(settings, sought.room, sought.filter, ("dead", "parked") if parked else ("dead",)):
        say_json(row, indent=None)
        number += 1
    note(f"{number} letters")


# ── replay and discard ───────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
@with_chosen_letters
def replay(
    chosen: ChosenLetters,
    *,
    reason: MaybeReason = None,
    dry_run: DryRun = False,
    rate: Rate = None,
    wait: Wait = WAIT_S,
    stop_on_error: Annotated[
        bool, typer.Option("--stop-on-error", help="One after the other; stop at the first that fails again.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also those that were replayed three times already.")] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Replay dead letters, and the messages that wait behind them; print the results. Exits 1 if any failed again.

    A second replay changes nothing; Ctrl-C is safe.
    """
    from topics.runtime.dead_letters import acts as operators
    from topics.runtime.dead_letters.listing import letter_states
    from topics.runtime.shape.clock import Clock

    if dry_run:
        _print_plan(chosen, as_json, force=force)
        return
    acting, settings = audit_note(actor, required_reason(reason)), chosen.settings
    clock, all_well = Clock(settings.clock_file), True
    for room in chosen.letters:

        def act(letters: Iterable[str], room: str = room) -> operators.ActResult:
            return operators.replay(settings, room, list(letters), acting, clock.now(), chosen.filter, force)

        before = letter_states(settings, room, chosen.letters[room])
        tally = _run(chosen, room, act, rate, stop_on_error, "made due again", as_json)
        waits = wait > 0 and not stop_on_error
        if not (as_json and waits):
            _print_totals(room, tally, len(chosen.letters[room]), "made due again", as_json)
        if waits:
            attempts = {letter_id: before[letter_id][1] for letter_id in tally.changed}
            all_well &= _print_results(chosen, room, tally, attempts, wait, as_json)
    _note_nothing_chosen(chosen, as_json)
    if not all_well:
        raise typer.Exit(1)


@app.command()
@with_chosen_letters
def discard(
    chosen: ChosenLetters,
    *,
    reason: MaybeReason = None,
    dry_run: DryRun = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Discard dead letters for good; later messages of their keys go on. Their effects never happen."""
    from topics.runtime.dead_letters import acts as operators
    from topics.runtime.shape.clock import Clock

    if dry_run:
        _print_plan(chosen, as_json, discards=True)
        return
    acting, settings = audit_note(actor, required_reason(reason)), chosen.settings
    clock = Clock(settings.clock_file)
    for room in chosen.letters:

        def act(letters: Iterable[str], room: str = room) -> operators.ActResult:
            return operators.discard(settings, room, list(letters), acting, clock.now(), chosen.filter)

        tally = _run(chosen, room, act, None, False, "discarded", as_json)
        _print_totals(room, tally, len(chosen.letters[room]), "discarded", as_json)
    _note_nothing_chosen(chosen, as_json)


def _run(
    chosen: ChosenLetters, room: str, act: Act, rate: int | None, stop_on_error: bool, done: str, as_json: bool
) -> ActTotals:
    """Act on all of one room's letters. An interrupted run keeps and prints what it has done."""
    from operations.cli.letters.pacing import with_bar
    from topics.runtime.dead_letters import pacing

    letters, tally = chosen.letters[room], pacing.ActTotals()
    if stop_on_error:
        steps = pacing.replay_one_by_one(chosen.settings, room, letters, act, rate)
    else:
        steps = pacing.paced(letters, act, rate)
    try:
        with_bar(steps, len(letters), tally, room)
    except KeyboardInterrupt:
        _print_totals(room, tally, len(letters), done, as_json)
        note("interrupted: the same command goes on from here")
        raise typer.Exit(130) from None
    except pacing.ReplayFailed as failure:
        tally.changed.append(letters[len(tally.changed) + len(tally.unchanged)])
        _print_totals(room, tally, len(letters), done, as_json)
        raise failed(f"stopped: {failure}") from None
    return tally


def _print_totals(room: str, tally: ActTotals, number: int, done: str, as_json: bool) -> None:
    if as_json:
        say_json({"room": room, "chosen": number, "changed": len(tally.changed), "unchanged": tally.unchanged})
        return
    say(f"{room}: {len(tally.changed)} of {number} {done}")
    for letter_id, state in tally.unchanged.items():
        why = "was replayed three times and needs --force" if state == "dead" else f"is {state}, not dead"
        note(f"{room}/{letter_id} {why}: nothing to do")


def _print_results(
    chosen: ChosenLetters, room: str, tally: ActTotals, attempts: Mapping[str, int], wait_s: float, as_json: bool
) -> bool:
    """Print the results of a replay. → whether all letters took effect."""
    from topics.runtime.dead_letters import pacing

    try:
        seen = pacing.await_results(chosen.settings, room, attempts, wait_s)
    except KeyboardInterrupt:
        note("interrupted: letters that are due are retried all the same")
        raise typer.Exit(130) from None
    counts = {"done": len(seen.ended), "failed": seen.failed, "untried": seen.untried}
    if as_json:
        changed = {"chosen": len(chosen.letters[room]), "changed": len(attempts), "unchanged": tally.unchanged}
        say_json({"room": room, **changed, **counts})
    elif attempts:
        say(f"{room}: {len(seen.ended)} done, {len(seen.failed)} failed again, {len(seen.untried)} not tried yet")
        for letter_id, state in seen.failed.items():
            note(f"{room}/{letter_id} {pacing.failed_text(state)}")
        for letter_id in seen.untried:
            note(f"{room}/{letter_id} {pacing.untried_text(wait_s)}")
    return not seen.failed and not seen.untried


def _note_nothing_chosen(chosen: ChosenLetters, as_json: bool) -> None:
    if not chosen.number and as_json:
        _print_json({"chosen": 0, "changed": 0, "unchanged": {}})
    elif not chosen.number:
        note("no dead letter matches: nothing to do")


def _print_plan(chosen: ChosenLetters, as_json: bool, *, discards: bool = False, force: bool = False) -> None:
    from topics.runtime.dead_letters.listing import plan

    planned = [
        (room, each)
        for room, letters in chosen.letters.items()
        for each in plan(chosen.settings, room, letters, discards=discards, force=force)
    ]
    if as_json:
        _print_json([{"room": room, **asdict(each)} for room, each in planned])
        return
    if planned:
        from operations.cli.letters import shown

        shown.plan(planned)
    would = [each.does for _, each in planned]
    counts = ", ".join(f"{would.count(does)} {does}" for does in ("run", "wait", "no-op", "refused") if does in would)
    note(f"dry run, nothing done: {counts or 'no dead letter matches'}")


# ── an edit needs two persons ────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def edit(
    id_: Id,
    *,
    reason: Reason,
    file: Annotated[
        typer.FileBinaryRead | None, typer.Option("--file", help="The corrected JSON; without it: stdin.")
    ] = None,
    actor: Actor = None,
) -> None:
    """Propose a corrected value for a dead letter, and show what it changes. A second person approves it."""
    from operations.cli.letters import shown
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters import acts as operators
    from topics.runtime.shape.clock import Clock

    acting, settings = audit_note(actor, reason), current_settings()
    room, letter_id = one_letter(settings, id_)
    value = (file or sys.stdin.buffer).read(operators.EDIT_BYTES_MAX + 1)
    try:
        now = Clock(settings.clock_file).now()
        proposed = operators.propose(settings, room, letter_id, value.strip(), acting, now)
    except operators.ActRefused as refused:
        raise failed(str(refused)) from None
    say(*shown.diff(proposed))
    note(f"{room}/{letter_id} waits for a second person: tally dlq approve {letter_id[:8]} --reason …")


@app.command()
def approve(
    id_: Id,
    *,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    actor: Actor = None,
) -> None:
    """Replay a letter with the edit that another person proposed; it is shown first."""
    from operations.cli.letters import shown
    from operations.stack.running import current_settings
    from topics.runtime.dead_letters import acts as operators
    from topics.runtime.shape.clock import Clock

    acting, settings = audit_note(actor, reason), current_settings()
    room, letter_id = one_letter(settings, id_)
    try:
        seen = operators.proposed_edit(settings, room, letter_id)
        say(*shown.diff(seen))
        if not yes and not typer.confirm(
            visible(f"replay {room}/{letter_id} with this edit of {seen.edited_by}?"), err=True
        ):
            raise failed("not approved: nothing done")
        operators.approve(settings, room, letter_id, seen.sha256, acting, Clock(settings.clock_file).now())
    except operators.ActRefused as refused:
        raise failed(str(refused)) from None
    note(f"{room}/{letter_id} made due again, as {seen.edited_by} edited it")


# ── the index itself ─────────────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def rebuild(
    *,
    room: Annotated[str, typer.Option("--room", metavar="ROOM", help="Whose index.")],
    reason: Reason,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Restore letters that the room's store has lost from its dead-letter topic; resolved ones come back as resolved."""
    from operations.cli.letters.rebuilding import rebuild_from_topic
    from operations.stack.running import current_settings

    known_room(room)
    rebuilt = rebuild_from_topic(current_settings(), room, audit_note(actor, reason))
    if as_json:
        _print_json(asdict(rebuilt))
        return
    for fate, number in sorted(rebuilt.counts.items()):
        say(f"{number:8} {fate}")
    for where in rebuilt.foreign:
        note(f"{where} is no letter of {room}: left alone")
    if not rebuilt.counts:
        note("the dead-letter topic is empty: nothing to do")


def _print_json(value: object) -> None:
    say_json(value)
