"""`tally recon breaks assign|note|write-off|…`: what a person does about a break. Reconciliation decides; the answer is shown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.letters.choosing import audit_note, checked_actor, failed
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from schemas.break_work import BreakAction, BreakWorked
    from topics.settings import Settings

ANSWERED_S = 15.0  # so long is waited for reconciliation's answer

BreakId = Annotated[str, typer.Argument(metavar="BREAK", help="Its id, or the beginning as lists show it.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept for ever.")]
As = Annotated[
    str | None,
    typer.Option("--as", "--actor", metavar="NAME", callback=checked_actor, help="Who you are; else the shell's user."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
OperationId = Annotated[
    str | None, typer.Option("--operation-id", metavar="ID", help="Names this action: the same again is that one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
Items = Annotated[
    list[str] | None,
    typer.Option("--item", metavar="ITEM", help="Of the break; else all that are open. May be repeated."),
]


def add_to(app: typer.Typer) -> None:
    """The commands, in the order in which a case is worked."""
    for name, command in (
        ("assign", assign),
        ("note", _said("note", "Write something into a break's history.")),
        ("write-off", write_off),
        ("map", map_),
        ("match", match),
        ("unmatch", undo),
        ("propose", propose),
        ("undo", undo),
        ("resolve", _said("resolve", "Say that nothing is to be booked. By another amount the break is open again.")),
        ("approve", approve),
        ("reject", _said("reject", "Reject what is proposed, or take it back.")),
        ("reopen", _said("reopen", "Open a break again that a person has resolved.")),
    ):
        app.command(name)(command)


def _said(action: BreakAction, does: str) -> Callable[..., None]:
    """A command that needs nothing but a reason."""

    def command(
        break_id: BreakId,
        *,
        reason: Why,
        name: As = None,
        dry_run: DryRun = False,
        operation_id: OperationId = None,
        as_json: AsJson = False,
    ) -> None:
        _work(break_id, action, reason, name, dry_run, operation_id, as_json)

    command.__doc__ = does
    return command


def assign(
    break_id: BreakId,
    *,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="Who works it.")],
    reason: Why,
    name: As = None,
    dry_run: DryRun = False,
    operation_id: OperationId = None,
    as_json: AsJson = False,
) -> None:
    """Say who works a break."""
    _work(break_id, "assign", reason, name, dry_run, operation_id, as_json, assignee=to)


def write_off(
    break_id: BreakId,
    *,
    account: Annotated[str, typer.Option(help="Where the difference goes.")] = "platform:losses",
    item: Items = None,
    reason: Why,
    name: As = None,
    dry_run: DryRun = False,
    operation_id: OperationId = None,
    as_json: AsJson = False,
) -> None:
    """Book what is still open to losses, or to another account; nothing more is expected then."""
    _work(break_id, "write_off", reason, name, dry_run, operation_id, as_json, account=account, items=_some(item))


def map_(
    break_id: BreakId,
    *,
    account: Annotated[str, typer.Option(help="Whose money it is: seller:ID:payable, platform:fees, psp:NAME:fees, …")],
    item: Items = None,
    reason: Why,
    name: As = None,
    dry_run: DryRun = False,
    operation_id: OperationId = None,
    as_json: AsJson = False,
) -> None:
    """Book a line that nothing explains to an account."""
    _work(break_id, "map", reason, name, dry_run, operation_id, as_json, account=account, items=_some(item))


def match(
    break_id: BreakId,
    expectation: Annotated[
        list[str],
        typer.Argument(metavar="EXPECTATION…", help="What the line is: PSP|KIND|KEY, as breaks and explain show it."),
    ],
    *,
    item: Items = None,
    reason: Why,
    name: As = None,
    dry_run: DryRun = False,
    operation_id: OperationId = None,
    as_json: AsJson = False,
) -> None:
    """Say that a line is what another reference, or several, expect. No account but suspense moves."""
    more = {"expectations": tuple(expectation), "items": _some(item)}
    _work(break_id, "match", reason, name, dry_run, operation_id, as_json, **more)


def undo(
    break_id: BreakId,
    correction_id: Annotated[
        str, typer.Argument(metavar="CORRECTION", help="Its 32 hex digits, as the history shows it.")
    ],
    *,
    reason: Why,
    name: As = None,
    dry_run: DryRun = False,
    operation_id: OperationId = None,
    as_json: AsJson = False,
) -> None:
    """Take a write-off, a mapping, a journal or a match back: what it booked and what it expected."""
    _work(break_id, "undo", reason, name, dry_run, operation_id, as_json, correction_id=correction_id)


def propose(
    break_id: BreakId,
    *,
    entry: Annotated[
        list[str] | None,
        typer.Option(
            "--entry", metavar="'debit|credit ACCOUNT AMOUNT CURRENCY'", help="A line of the journal; two at least."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", exists=True, dir_okay=False, help="The lines as JSON: account, direction, amount."),
    ] = None,
    item: Items = None,
    reason: Why,
    name: As = None,
    dry_run: DryRun = False,
    operation_id: OperationId = None,
    as_json: AsJson = False,
) -> None:
    """Book a journal that you have drawn up. What it moves of a seller's payable, it moves in the seller's wallet."""
    entries = _entries(entry or [], file)
    _work(break_id, "propose", reason, name, dry_run, operation_id, as_json, entries=entries, items=_some(item))


def approve(
    break_id: BreakId,
    *,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HASH", help="Of what you have been shown; else of what is proposed now."),
    ] = None,
    reason: Why,
    name: As = None,
    dry_run: DryRun = False,
    operation_id: OperationId = None,
    as_json: AsJson = False,
) -> None:
    """Approve what another person has proposed. What has changed since is refused."""
    _work(break_id, "approve", reason, name, dry_run, operation_id, as_json, sha256=sha256)


def _work(
    given: str,
    action: BreakAction,
    reason: str,
    name: str | None,
    dry_run: bool,
    operation_id: str | None,
    as_json: bool,
    **more: Any,
) -> None:
    """Exits 1 where it cannot be done."""
    from operations.cli.commands.recon import found_break
    from operations.stack.running import current_settings

    settings, by = current_settings(), audit_note(name, reason).actor
    event = _event(found_break(settings, given), action, f"operator {by}", reason, operation_id, more)
    told = _previewed(settings, event)
    if dry_run:
        if as_json:
            say_json(told)
        else:
            _say_preview(told)
        return
    if action == "approve" and event.sha256 is None:
        event = event.model_copy(update={"sha256": told["sha256"]})
    if not as_json:
        _say_preview(told)
    _answer(settings, event, as_json)


def _answer(settings: Settings, event: BreakWorked, as_json: bool) -> None:
    from operations.cli.door_commands import run_command
    from producers.doors.break_work import ask
    from producers.problems import Problem

    try:
        asked = run_command(settings, ask(event))
    except Problem as problem:
        raise failed(f"tally: {problem.detail}") from None
    outcome = _decided(settings, event.operation_id)
    if as_json:
        say_json(dict(asked.row) | {"replayed": asked.replayed} | outcome)
    else:
        again = ", as before" if asked.replayed else ""
        say(f"{event.action.replace('_', '-')}: {outcome['outcome']}{again} (operation {event.operation_id})")
    if outcome["outcome"] == "refused":
        raise failed(f"tally: {outcome['code']}: {outcome['why']}")
    if outcome["outcome"] == "proposed" and not as_json:
        note(f"another person: tally recon breaks approve {event.subject[:12]} --sha256 {outcome['detail']['sha256']}")
    if outcome["outcome"] == "waiting":
        note("reconciliation has not decided yet: `tally recon breaks show` will say")


def _decided(settings: Settings, operation_id: str) -> dict[str, Any]:
    from operations.cli.recon_answers import walked
    from producers import recon_work

    until = time.monotonic() + ANSWERED_S
    while (outcome := walked(settings, recon_work.outcome(operation_id)))["outcome"] == "waiting":
        if time.monotonic() > until:
            break
        time.sleep(0.2)
    return outcome


def _previewed(settings: Settings, event: BreakWorked) -> dict[str, Any]:
    """Exits 1 where it cannot be done as things stand."""
    from operations.cli.recon_answers import walked
    from producers import recon_work
    from schemas.repairs import NotPossible

    if unknown := walked(settings, recon_work.unknown_sellers(event)):
        raise failed(f"tally: {unknown[0]} has no wallet")
    if walked(settings, recon_work.outcome(event.operation_id))["outcome"] != "waiting":
        return {
            "action": event.action,
            "sha256": None,
            "second_person": False,
            "does": [],
        }  # it is done: only shown again
    try:
        return walked(settings, recon_work.preview(event, settings.breaks))
    except NotPossible as why:
        raise failed(f"tally: {why}") from None


def _say_preview(told: dict[str, Any]) -> None:
    say(*told["does"])
    if told["second_person"] and told["action"] != "approve":
        note("it needs a second person")


def _event(
    break_id: str, action: BreakAction, actor: str, reason: str, operation_id: str | None, more: dict[str, Any]
) -> BreakWorked:
    """Exits 2 where a field is none."""
    import secrets

    from pydantic import ValidationError

    from schemas.break_work import BreakWorked

    named = {"subject": break_id, "operation_id": operation_id or f"cli-{secrets.token_hex(12)}"} | more
    try:
        return BreakWorked(action=action, actor=actor, reason=reason, **named)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _some(items: list[str] | None) -> tuple[str, ...] | None:
    return tuple(items) if items else None


def _entries(given: list[str], file: Path | None) -> tuple[Any, ...]:
    """Exits 2 where a line is none."""
    from schemas.journals import LedgerEntry
    from schemas.money import InvalidMoney, Money

    try:
        if file is not None:
            lines = [(e["direction"], e["account"], e["amount"], e["currency"]) for e in json.loads(file.read_text())]
        else:
            lines = [tuple(text.split()) for text in given]  # type: ignore[misc]
        made = []
        for direction, account, amount, currency in lines:
            if direction not in ("debit", "credit"):
                raise ValueError(f"{direction!r} is neither debit nor credit")
            made.append(LedgerEntry(account, direction, Money.parse(amount, currency)))
    except (ValueError, KeyError, TypeError, InvalidMoney) as error:
        raise typer.BadParameter(f"--entry: {error}") from None
    if len(made) < 2:
        raise typer.BadParameter("--entry: a journal has two lines at least")
    return tuple(made)
