"""`tally recon …`: what finance looks at in the morning. `tally recon` alone is the day on one screen."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli import break_work, recon_closing
from operations.cli.letters.choosing import checked_actor, failed, shell_user
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
app.command()(recon_closing.close)
app.command()(recon_closing.report)
break_work.add_to(breaks_app)

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
    ("work", "work"),
    ("assignee", "whose"),
    ("decide_by", "decide by"),
    ("subject", "subject"),
)
SELLERS = (
    ("seller", "seller"),
    ("amount", "amount"),
    ("currency", "currency"),
    ("break_id", "break"),
    ("code", "code"),
    ("about", "about"),
    ("opened_at", "since (UTC)"),
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


FEES = (
    ("kind", "kind"),
    ("scheme", "scheme"),
    ("currency", "currency"),
    ("lines", "lines"),
    ("gross", "gross"),
    ("commission", "commission"),
    ("markup", "markup"),
    ("scheme_fee", "scheme fees"),
    ("interchange", "interchange"),
    ("tax", "tax"),
    ("other", "other"),
    ("charged", "charged"),
    ("agreed_since", "agreed since"),
    ("payments", "compared"),
    ("least", "from"),
    ("most", "to"),
    ("over", "too much"),
    ("under", "too little"),
)
CLAIM = (
    ("psp_ref", "their reference"),
    ("our_ref", "our reference"),
    ("day", "day"),
    ("gross", "gross"),
    ("charged", "charged"),
    ("agreed", "agreed"),
    ("difference", "difference"),
    ("currency", "currency"),
    ("scheme", "scheme"),
    ("agreed_since", "agreed since"),
    ("settlement", "settlement"),
    ("call_id", "our id at the PSP"),
    ("line", "line"),
)
LINES = (
    ("line", "line"),
    ("kind", "kind"),
    ("psp_ref", "their reference"),
    ("order_ref", "order"),
    ("day", "day"),
    ("gross", "gross"),
    ("gross_currency", "of"),
    ("fee", "fee"),
    ("net", "net"),
    ("currency", "in"),
    ("counts", "counts"),
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
        ("Settlements that do not tie", told["settlements"], SETTLEMENTS, "no settlement fails to tie"),
        ("Still out", told["clearing"], CLEARING, "nothing is out"),
        (
            "Proof: accounts that do not hold",
            wrong,
            PROOF,
            f"the proof holds, of {len(told['proof'])} accounts",
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
    if source is not None and not found:
        _check_source(settings, source)
    rows = _answer(settings, recon_reports.at_the_bank(found, settings.settlement_sources))["settlements"]
    show(rows, "settlements", AT_BANK, as_json, as_csv, "no settlement has come")


@app.command()
def clearing(psp: OfPsp = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """What is still out, by how many days it is late; plus and minus apart."""
    from operations.cli.recon_answers import show
    from producers import recon_reports

    settings = _settings()
    rows = _answer(settings, recon_reports.clearing(psp, _day(settings, None)))["clearing"]
    if psp is not None and not rows:
        _check_account(settings, psp)
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


@app.command()
def sellers(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Sellers whose pay-outs wait, since wallet and ledger do not agree about them."""
    from operations.cli.recon_answers import show
    from producers import recon_reports

    rows = _answer(_settings(), recon_reports.held_sellers())["sellers"]
    show(rows, "sellers", SELLERS, as_json, as_csv, "nobody is held")


@breaks_app.command("list")
def list_breaks(
    code: Annotated[str | None, typer.Option(help="Of this code alone.")] = None,
    psp: OfPsp = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that are closed.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="Those that are assigned to you.")] = False,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", callback=checked_actor, help="Who you are; else the shell's user."),
    ] = None,
    unassigned: Annotated[bool, typer.Option("--unassigned", help="Those that nobody works.")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="Those that should be decided by now.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Open breaks, newest first."""
    from operations.cli.cut import cut
    from operations.cli.recon_answers import show
    from producers import recon_reports

    settings = _settings()
    asked = recon_reports.BreaksAsked(
        "closed" if closed else "open",
        code,
        psp,
        limit=limit,
        assignee=(name or shell_user()) if mine else None,
        unassigned=unassigned,
        overdue_at=_now(settings) if overdue else None,
    )
    rows = cut(_answer(settings, recon_reports.breaks(asked, settings.stuck.breaks))["breaks"], limit, "--limit")
    if psp is not None and not rows:
        _check_account(settings, psp)
    if not (as_json or as_csv):
        rows = [row | {"break_id": row["break_id"][:12]} for row in rows]
    show(rows, "breaks", BREAKS, as_json, as_csv, "no such break")


@breaks_app.command("show")
def show_break(
    break_id: Annotated[
        str,
        typer.Argument(metavar="BREAK", help="Its id, or the beginning as lists show it."),
    ],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """A break with its items and its history."""
    from operations.cli.break_shown import print_break
    from operations.cli.recon_answers import show, walked
    from producers import recon_reports, recon_suggestions

    settings = _settings()
    found = _answer(settings, recon_reports.one_break(found_break(settings, break_id), settings.stuck.breaks))
    found["suggestions"] = walked(settings, recon_suggestions.suggestions(found))
    if as_json:
        say_json(found)
    elif as_csv:
        show(found["its_items"], "items", ITEMS, False, True, "")
    else:
        print_break(found, ITEMS)


def found_break(settings: Settings, given: str) -> str:
    """Exits 1 unless the beginning of an id names one break."""
    from producers import recon_reports

    found = _answer(settings, recon_reports.break_ids(given))["ids"] if recon_reports.is_beginning(given) else []
    if not found:
        raise failed(f"tally: there is no break {given} (`tally recon breaks list` shows them)")
    if len(found) > 1:
        raise failed(f"tally: {given} names {len(found)} breaks: give more of its id")
    return str(found[0])


@app.command()
def explain(
    of: Annotated[
        str,
        typer.Argument(
            metavar="SETTLEMENT|LINE|ORDER|ID|KEY",
            help="A settlement is SOURCE/REFERENCE, a line FILE:RECORD, a key that of a break's item; an id is that of a refund,"
            " dispute or pay-out, or a PSP's or bank's reference.",
        ),
    ],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Of a settlement what it is made of; of anything else what was expected, and each line that has come, down to its bytes."""
    from operations.cli import recon_explained as shown
    from operations.cli.recon_answers import walked
    from producers import recon_explained

    settings = _settings()
    found = walked(settings, recon_explained.explained(of, settings.settlement_sources))
    if not any(found.values()):
        raise failed(f"tally: no file and no fact says anything of {of}{_near(of, settings)}")
    if as_json:
        say_json({name: rows for name, rows in found.items() if rows})
    elif found["settlements"]:
        shown.settlements(found["settlements"], as_csv)
    else:
        shown.lines(found["lines"], as_csv)
        if not (as_csv and found["lines"]):
            shown.tallies(found["tallies"], as_csv)


@app.command()
def lines(
    of: Annotated[
        str, typer.Argument(metavar="SETTLEMENT|FILE", help="SOURCE/REFERENCE, or the beginning of a file's id.")
    ],
    limit: Limit = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """The lines of a settlement or of a file, one by one; `tally recon explain LINE` shows one whole."""
    from operations.cli.recon_answers import show, walked
    from operations.cli.recon_explained import named_kinds
    from producers import recon_lines

    settings = _settings()
    page = walked(settings, recon_lines.lines(recon_lines.LinesAsked(of, limit)))
    if not page.known:
        raise failed(f"tally: there is no settlement and no file {of}{_near(of, settings)}")
    if page.rest is not None:
        note(f"only {limit} are shown, there are more: --limit")
    show(named_kinds(page.lines), "lines", LINES, as_json, as_csv, "no line has been read yet")


@app.command()
def fees(
    psp: Annotated[str, typer.Option(metavar="NAME", help="The PSP.")],
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="Of the lines' value days.")],
    claim: Annotated[
        bool, typer.Option("--claim", help="A CSV for the PSP: the payments that it has charged more than agreed.")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """What a PSP has charged in a month, part by part, and what the fee schedule lets it charge."""
    from operations.cli.recon_answers import show, walked
    from operations.cli.recon_explained import fee_tables, named_kinds
    from producers import recon_fees

    if not recon_fees.is_month(month):
        raise typer.BadParameter(f"{month!r} is no month as in 2026-01", param_hint="--month")
    settings = _settings()
    if claim:
        rows = walked(settings, recon_fees.claims(psp, month))
        if not rows:
            _check_account(settings, psp)
        show(rows, "claims", CLAIM, as_json, not as_json, "")
        return
    found = walked(settings, recon_fees.fees(psp, month))
    if not found["fees"]:
        _check_account(settings, psp)
    if as_json:
        say_json(found)
    elif as_csv or not found["fees"]:
        show(named_kinds(found["fees"]), "fees", FEES, False, as_csv, f"{psp} has no line in {month}")
    else:
        fee_tables(psp, month, found["fees"])


def _settings() -> Settings:
    from operations.stack.running import current_settings

    return current_settings()


def _answer(settings: Settings, report: Report) -> Answer:
    from operations.cli.recon_answers import answer

    return answer(settings, report)


def _check_account(settings: Settings, name: str) -> None:
    """Exits 1 where no source is of this PSP or bank account."""
    accounts = {source.psp or source.bank_account for source in settings.settlement_sources}
    if name not in accounts:
        raise failed(f"tally: no source is of {name} (TALLY_SETTLEMENT_SOURCES){close_to(name, accounts)}")


def _check_source(settings: Settings, name: str) -> None:
    """Exits 1 where there is no such source."""
    names = {source.name for source in settings.settlement_sources}
    if name not in names:
        raise failed(f"tally: there is no source {name} (TALLY_SETTLEMENT_SOURCES){close_to(name, names)}")


def _near(of: str, settings: Settings) -> str:
    """Settlements that are called alike."""
    from producers import recon_reports

    if "/" not in of:
        return ""
    known = _answer(settings, recon_reports.settlements(None, None, 500))["settlements"]
    return close_to(of, {f"{one['source']}/{one['settlement']}" for one in known})


def close_to(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=3)
    return f"; do you mean {', '.join(near)}?" if near else ""


def _now(settings: Settings) -> datetime:
    from topics.runtime.shape.clock import Clock

    return Clock(settings.clock_file).now()


def _day(settings: Settings, given: str | None) -> date:
    """Exits 2 if it is no day."""
    from topics.runtime.shape.clock import Clock

    if given is None:
        return Clock(settings.clock_file).now().date()
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no day as in 2026-01-31", param_hint="--date") from None
