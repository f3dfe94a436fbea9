"""`tally resolve …`: what a PSP or bank could not say of a call or file, said by two persons. `tally resolve ID` proposes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from operations.cli.letters.choosing import audit_note, failed
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from producers.doors.resolutions import OpenCall, Proposed
    from topics.settings import Settings


class _ProposesByDefault(TyperGroup):
    """A call's id where a command's name is expected: `propose` is meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["propose", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_ProposesByDefault,
    help="What a PSP could not say of a call, or a bank of a file: one person proposes it, another one approves it.",
    no_args_is_help=True,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The proposal's, as `tally resolve list` shows it.")]
As = Annotated[
    str | None, typer.Option("--as", "--actor", metavar="NAME", help="Who you are; else the user of this shell.")
]
Why = Annotated[str, typer.Option("--reason", help="Why; kept for ever.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command()
def propose(
    call: Annotated[
        str, typer.Argument(metavar="CALL", help="Its id, or a bank file's, as `tally stuck` or `show` tells it.")
    ],
    *,
    outcome: Annotated[
        str,
        typer.Option(
            help="succeeded, failed; of a pay-out submitted; of a bank file delivered, not_delivered; against"
            " what its PSP has said: declare_captured, declare_failed"
        ),
    ],
    evidence: Annotated[str, typer.Option(help="How you know: where it is written, and what.")],
    reason: Why,
    psp_reference: Annotated[
        str | None, typer.Option(help="The PSP's id of it; needed where it has succeeded and is not known yet.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of an authorisation, for a charge that is captured later.")
    ] = None,
    name: As = None,
    as_json: AsJson = False,
) -> None:
    """Propose what has become of a call or bank file. `tally resolve CALL` is the same."""
    from operations.stack.running import current_settings
    from producers.bodies import parsed
    from producers.doors.resolutions import Resolution, propose
    from producers.routes.resolutions import ResolutionRequest

    settings, by = current_settings(), audit_note(name, reason).actor
    given = {"call_id": call, "outcome": outcome, "evidence": evidence, "reason": reason}
    more = {"psp_reference": psp_reference, "expires_at": expires_at}
    wanted = _refusing(
        lambda: parsed(ResolutionRequest, _json(given | {k: v for k, v in more.items() if v is not None}))
    )
    said = Resolution(wanted.outcome, evidence, reason, wanted.psp_reference, wanted.expires_at)
    proposed = _run(settings, lambda: propose(_call(settings, call), said, by))
    _tell(settings, proposed, as_json)
    if not as_json:
        note(f"another person approves it: tally resolve approve {proposed.row['proposal_id']} --as NAME --reason WHY")


@app.command()
def approve(proposal: Id, *, reason: Why, name: As = None, as_json: AsJson = False) -> None:
    """Approve what another person has proposed: the executor hears it as it would hear the PSP."""
    _decide(proposal, True, reason, name, as_json)


@app.command()
def reject(proposal: Id, *, reason: Why, name: As = None, as_json: AsJson = False) -> None:
    """Reject a proposal, or take your own back."""
    _decide(proposal, False, reason, name, as_json)


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Those that were decided or have expired, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Proposals that wait for another person, newest first."""
    from operations.cli.cut import cut
    from operations.stack.running import current_settings

    settings = current_settings()
    rows = _proposals(settings, "ORDER BY proposed_at DESC, proposal_id DESC LIMIT %s", [limit + 1], all_)
    found = cut(rows, limit, "--limit")
    if as_json:
        say_json({"resolutions": found})
    elif found:
        _print(found)
    else:
        note("nothing is proposed" if all_ else "no proposal waits")


def _decide(proposal: str, approves: bool, reason: str, name: str | None, as_json: bool) -> None:
    from operations.stack.running import current_settings
    from producers.doors.resolutions import decide

    settings, by = current_settings(), audit_note(name, reason).actor
    found = _proposals(settings, "AND proposal_id = %s", [proposal], True)
    if not found:
        raise failed(f"tally: there is no proposal {proposal} (`tally resolve list --all` shows them)")
    command = _run(settings, lambda: decide(_call(settings, found[0]["call_id"]), proposal, approves, by, reason))
    _tell(settings, command, as_json)


def _run(settings: Settings, make: Any) -> Proposed:
    """Errors: exits 1 with what the door says."""
    from operations.cli.door_commands import run_command

    result: Proposed = _refusing(lambda: run_command(settings, make()))
    return result


def _refusing(work: Any) -> Any:
    from producers.problems import Problem

    try:
        return work()
    except Problem as problem:
        raise failed(f"tally: {problem.detail}") from None


def _call(settings: Settings, call_id: str) -> OpenCall:
    from producers.doors.resolutions import CALL, MANUAL, OpenCall
    from producers.problems import Problem
    from topics.runtime.shape.reading import read

    rows = read(settings, "executor", CALL, {"call_id": call_id})
    if not rows:
        raise Problem("not_found", f"There is no call or bank file {call_id}.")
    manual = read(settings, "payments", MANUAL, [rows[0]["subject"]])
    return OpenCall(**rows[0], manual=bool(manual and manual[0]["manual"]))


def _proposals(settings: Settings, rest: str, values: list[object], every: bool) -> list[dict[str, Any]]:
    from producers.doors.resolutions import ANSWERS, COLUMNS, asked_about, shown, with_answers
    from topics.runtime.shape.clock import Clock
    from topics.runtime.shape.reading import read

    now = Clock(settings.clock_file).now()
    where = "TRUE" if every else "state = 'waiting' AND expires_at > %s"
    rows = read(
        settings,
        "doors",
        f"SELECT {COLUMNS} FROM proposal_view WHERE {where} {rest}",
        values if every else [now, *values],
    )
    found = [shown(row, now) for row in rows]
    calls = asked_about(found)
    return with_answers(found, read(settings, "executor", ANSWERS, {"calls": calls}) if calls else [])


def _tell(settings: Settings, proposed: Proposed, as_json: bool) -> None:
    from topics.runtime.shape.clock import Clock

    told = proposed.shown(Clock(settings.clock_file).now())
    if as_json:
        say_json(told)
        return
    again = ", as before" if proposed.replayed else ""
    state = told["state"] if told["state"] == "waiting" else f"{told['state']} by {told['decided_by']}"
    said = f"{told['kind']} {told['call_id']} of {told['subject']} at {told['psp']} has {told['outcome']}"
    if told["outcome"].startswith("declare_"):
        said = said.replace("has declare_", "is declared ")
    if told["kind"] == "bank_file":
        said = f"bank file {told['call_id']} was {told['outcome'].replace('_', ' ')} to {told['psp']}"
    say(f"{told['proposal_id']}: {said}, {told['amount']} {told['currency']}; {state}{again}")


def _print(found: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("proposal", "call", "kind", "subject", "outcome", "amount", "by", "proposed (UTC)", "state")
    for one in found:
        decided = f"{one['state']} by {one['decided_by']}" if one["decided_by"] else one["state"]
        decided += f"; {_ANSWERS[one['answer']].format(one['answer_code'])}" if one["answer"] else ""
        table.add_row(
            one["proposal_id"],
            one["call_id"],
            one["kind"],
            one["subject"],
            one["outcome"],
            f"{one['amount']} {one['currency']}",
            one["proposed_by"],
            f"{one['proposed_at']:%m-%d %H:%M:%S}",
            decided,
        )
    table.show()


_ANSWERS = {
    "asked": "the PSP or provider is asked",
    "believed": "believed",
    "refused": "refused: by the word of the PSP or provider it is {}",
}


def _json(value: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(value)
