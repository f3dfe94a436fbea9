"""`tally recon …`: what finance looks at in the morning. `tally recon` alone is the day on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.letters.choosing import failed
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from producers.recon_reports import Answer, Report
    from topics.settings import Settings

HELP = (
    "Reconciliation: what has come, what ties, what is still out, what must be decided; alone: the day on one screen."
)
app = typer.Typer(help=HELP, invoke_without_command=True)
breaks_app = typer.Typer(help="Breaks: what does not tie, and must be decided or waited for.", no_args_is_help=True)
app.add_typer(breaks_app, name="breaks")

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV on stdout, for a spreadsheet")]
OfDay = Annotated[str | None, typer.Option("--date", metavar="DAY", help="A day in UTC, YYYY-MM-DD; else today.")]
OfPsp = Annotated[str | None, typer.Option("--psp", metavar="NAME", help="Of this PSP or bank account alone.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")]

FILES = (
    ("source", "source"),
    ("came", "came"),
    ("counted", "counted"),
    ("under_way", "under way"),
    ("held", "held"),
    ("newest_at", "newest (UTC)"),
)
SETTLEMENTS = (
    ("source", "source"),
    ("settlement", "settlement"),
    ("currency", "currency"),
    ("day", "day"),
    ("lines", "lines"),
    ("unknown", "unknown"),
    ("fee", "fees"),
    ("net", "adds up to"),
    ("claimed", "claimed"),
    ("state", "state"),
)
AT_BANK = (*SETTLEMENTS, ("at_the_bank", "at the bank"))
CLEARING = (
    ("psp", "PSP or bank"),
    ("station", "station"),
    ("currency", "currency"),
    ("days_late", "days late"),
    ("tallies", "tallies"),
    ("plus", "they owe us"),
    ("minus", "we owe them"),
)
PROOF = (
    ("account", "account"),
    ("currency", "currency"),
    ("ledger", "ledger"),
    ("explained", "explained"),
    ("difference", "difference"),
)
BREAKS = (
    ("break_id", "break"),
    ("code", "code"),
    ("class", "class"),
    ("psp", "PSP or bank"),
    ("amount", "amount"),
    ("currency", "currency"),
    ("items", "items"),
    ("opened_at", "since (UTC)"),
    ("subject", "subject"),
)
CODES = (
    ("code", "code"),
    ("class", "class"),
    ("breaks", "breaks"),
    ("items", "items"),
    ("amount", "amount"),
    ("currency", "currency"),
    ("oldest_at", "oldest (UTC)"),
)
ITEMS = (
    ("item", "item"),
    ("amount", "amount"),
    ("currency", "currency"),
    ("opened_at", "since"),
    ("closed_at", "closed"),
)


@app.callback()
def day(context: typer.Context, of: OfDay = None, as_json: AsJson = False) -> None:
    """The day on one screen: files, settlements that do not tie, what is still out, the proof, open breaks."""
    if context.invoked_subcommand is not None:
        return
    from producers import recon_reports

    settings = _settings()
    told = _answer(settings, recon_reports.day(settings.settlement_sources, _day(settings, of)))
    if as_json:
        say_json(told)
        return
    _screen(told)


def _screen(told: Answer) -> None:
    from operations.cli.recon_answers import table

    held = [f"{one['source']} {one['file_id'][:12]} {one['name']}: {one['state']}: {_why(one)}" for one in told["held"]]
    wrong = [line for line in told["proof"] if line["ledger"] != line["explained"]]
    parts: list[tuple[str, Sequence[Answer], Any, str]] = [
        (f"Files of {told['date']}", told["sources"], FILES, "no source is set up (TALLY_SETTLEMENT_SOURCES)"),
        ("Settlements that do not tie", told["settlements"], SETTLEMENTS, "every settlement ties"),
        ("Still out", told["clearing"], CLEARING, "nothing is out"),
        (
            "Proof: accounts that do not hold",
            wrong,
            PROOF,
            f"the proof holds: {len(told['proof'])} balances are explained",
        ),
        ("Open breaks", told["breaks"], CODES, "no break is open"),
    ]
    for title, rows, columns, none in parts:
        if rows:
            table(rows, columns, title)
        else:
            say(none)
    say(*(f"held: {line}" for line in held))


def _why(held: Answer) -> str:
    refusal = held["refusal"] or {}
    line = f", line {refusal['line']}" if refusal.get("line") else ""
    return f"{held['why']}{line}: {refusal['detail']}" if refusal.get("detail") else str(held["why"])


@app.command()
def files(of: OfDay = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Of each source: what came on a day, what of it counts, what is under way or held."""
    from operations.cli.recon_answers import show
    from producers import recon_reports

    settings = _settings()
    told = _answer(settings, recon_reports.files(settings.settlement_sources, *recon_reports.whole(_day(settings, of))))
    if as_json:
        say_json(told)
    else:
        show(told["sources"], "sources", FILES, False, as_csv, "no source is set up (TALLY_SETTLEMENT_SOURCES)")


@app.command()
def settlements(
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Of this account alone.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """What PSPs have totalled and banks have stated: does it tie, is it booked, has the money arrived."""
    from operations.cli.cut import cut
    from operations.cli.recon_answers import show
    from producers import recon_reports

    settings = _settings()
    found = cut(_answer(settings, recon_reports.settlements(source, None, limit))["settlements"], limit, "--limit")
    rows = _answer(settings, recon_reports.at_the_bank(found, settings.settlement_sources))["settlements"]
    show(rows, "settlements", AT_BANK, as_json, as_csv, "no settlement has come")


@app.command()
def clearing(psp: OfPsp = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """What is still out, by how many days it is late; plus and minus apart."""
    from operations.cli.recon_answers import show
    from producers import recon_reports

    settings = _settings()
    rows = _answer(settings, recon_reports.clearing(psp, _day(settings, None)))["clearing"]
    show(rows, "clearing", CLEARING, as_json, as_csv, "nothing is out")


@app.command()
def proof(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Each account's balance, and what facts, files and statements explain of it. Exits 1 where they differ."""
    from operations.cli.recon_answers import show
    from producers import recon_reports

    settings = _settings()
    told = _answer(settings, recon_reports.proof(settings.settlement_sources))
    if as_json:
        say_json(told)
    else:
        show(told["proof"], "proof", PROOF, False, as_csv, "there is nothing to prove")
    if not told["holds"]:
        note("a difference that stays while nothing moves is one: `tally verify` says more")
        raise typer.Exit(1)


@breaks_app.command("list")
def list_breaks(
    code: Annotated[str | None, typer.Option(help="Of this code alone.")] = None,
    psp: OfPsp = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that are closed.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Open breaks, newest first."""
    from operations.cli.cut import cut
    from operations.cli.recon_answers import show
    from producers import recon_reports

    asked = recon_reports.BreaksAsked("closed" if closed else "open", code, psp, limit=limit)
    rows = cut(_answer(_settings(), recon_reports.breaks(asked))["breaks"], limit, "--limit")
    show(rows, "breaks", BREAKS, as_json, as_csv, "no such break")


@breaks_app.command("show")
def show_break(
    break_id: Annotated[str, typer.Argument(metavar="BREAK", help="Its id, as `tally recon breaks list` shows it.")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """A break with its items and its history."""
    from operations.cli.recon_answers import show, table
    from producers import recon_reports

    found = _answer(_settings(), recon_reports.one_break(break_id)) if recon_reports.is_key(break_id) else {}
    if not found:
        raise failed(f"tally: there is no break {break_id} (`tally recon breaks list` shows them)")
    if as_json:
        say_json(found)
    elif as_csv:
        show(found["its_items"], "items", ITEMS, False, True, "")
    else:
        amount = f"{found['amount']} {found['currency']}" if found["currency"] else ""
        say(f"{found['code']} (class {found['class']}), {found['state']}: {found['subject']}", amount)
        say(*(f"{name}: {value}" for name, value in found["detail"].items() if value))
        table(found["its_items"], ITEMS)
        say(*(f"{act['at']:%m-%d %H:%M:%S} {act['action']} by {act['actor']}" for act in found["actions"]))


@app.command()
def explain(
    of: Annotated[
        str,
        typer.Argument(
            metavar="SETTLEMENT|ORDER|PAYOUT|KEY",
            help="A settlement is SOURCE/REFERENCE; a key is that of a break's item.",
        ),
    ],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Of a settlement what it is made of; of an order, a pay-out or a key what was expected, and each line that has come."""
    from operations.cli import recon_explained as shown
    from producers import recon_explained, recon_reports

    settings = _settings()
    if recon_explained.is_settlement(of):
        found = _answer(settings, recon_explained.settlement(of))["settlements"]
    else:
        keys = [of] if recon_reports.is_key(of) else _answer(settings, recon_explained.calls(of))["keys"]
        found = _answer(settings, recon_explained.tallies(keys))["tallies"]
    if not found:
        raise failed(f"tally: no file and no fact says anything of {of}")
    if as_json:
        say_json({"settlements" if recon_explained.is_settlement(of) else "tallies": found})
    elif recon_explained.is_settlement(of):
        shown.settlements(found, as_csv)
    else:
        shown.tallies(found, as_csv)


def _settings() -> Settings:
    from operations.stack.running import current_settings

    return current_settings()


def _answer(settings: Settings, report: Report) -> Answer:
    from operations.cli.recon_answers import answer

    return answer(settings, report)


def _day(settings: Settings, given: str | None) -> date:
    """Exits 2 if it is no day."""
    from topics.runtime.shape.clock import Clock

    if given is None:
        return Clock(settings.clock_file).now().date()
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no day as in 2026-01-31", param_hint="--date") from None
