"""`tally risk`: what waits for a person, and that person's decision."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.letters.choosing import Actor, Reason, audit_note, failed
from operations.cli.risk_lists import app as lists
from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from topics.settings import Settings

app = typer.Typer(help="What waits for a person's decision, and deciding it.", no_args_is_help=True)
app.add_typer(lists, name="lists")

HEARD_WITHIN_S = 20
ASK_EVERY_S = 0.1
DONE = {"clear": "cleared", "refuse": "refused"}

Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="A checkout; or what one of the options says.")]
Buyer = Annotated[bool, typer.Option("--buyer", help="SUBJECT is a buyer, whom a new list has hit.")]
Payout = Annotated[bool, typer.Option("--payout", help="SUBJECT is a pay-out.")]
Seller = Annotated[bool, typer.Option("--seller", help="SUBJECT is a seller, whom a new list has hit.")]
ScreenNo = Annotated[int | None, typer.Option("--screen", min=1, help="Which screening; else the newest that waits.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command("list")
def list_(
    decided: Annotated[bool, typer.Option("--decided", help="Those that were decided, instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Screenings that wait for a person, newest first."""
    from operations.cli.cut import cut
    from operations.stack.running import current_settings
    from producers.doors.reviews import HELD
    from topics.runtime.shape.reading import read

    wanted = " WHERE decision IS NOT NULL" if decided else " WHERE decision IS NULL"
    rows = read(current_settings(), "risk", HELD + wanted + " ORDER BY held_at DESC, subject LIMIT %s", [limit + 1])
    found = cut(rows, limit, "--limit")
    if as_json:
        say_json({"reviews": found})
    elif found:
        _print(found)
    else:
        note("nothing was decided" if decided else "nothing waits for a person")


@app.command()
def show(
    subject: Subject, buyer: Buyer = False, payout: Payout = False, seller: Seller = False, as_json: AsJson = False
) -> None:
    """Every screening of a subject that was held, and every review of it, those that changed nothing too."""
    from operations.stack.running import current_settings

    settings = current_settings()
    found = [_with_reviews(settings, held) for held in _held(settings, _about(buyer, payout, seller), subject)]
    if as_json:
        say_json({"reviews": found})
        return
    for held in found:
        say(f"{_called(held)}: rule {held['rule']}, score {held['score']}, lists {held['list_version']}")
        say(f"held {held['held_at']:%Y-%m-%d %H:%M:%S} UTC, {_account(held)}")
        for hit in held["hits"]:
            say(f"near {hit['listed_name']}, entry {hit['entry_id']} of {hit['list_name']}, score {hit['score']}")
        for one in held["reviews"]:
            effect = "" if one["counts"] else " (too late: changed nothing)"
            say(f"{DONE[one['decision']]} by {one['actor']} {one['reviewed_at']:%Y-%m-%d %H:%M:%S} UTC{effect}")
            say(f"  {one['reason']}")


@app.command()
def clear(
    subject: Subject,
    *,
    reason: Reason,
    buyer: Buyer = False,
    payout: Payout = False,
    seller: Seller = False,
    screen: ScreenNo = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Let it go on. Exits 1 where another one has decided before."""
    _review("clear", _about(buyer, payout, seller), subject, screen, actor, reason, as_json)


@app.command()
def refuse(
    subject: Subject,
    *,
    reason: Reason,
    buyer: Buyer = False,
    payout: Payout = False,
    seller: Seller = False,
    screen: ScreenNo = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Do not let it go on. Exits 1 where another one has decided before."""
    _review("refuse", _about(buyer, payout, seller), subject, screen, actor, reason, as_json)


def _review(
    decision: str, about: str, subject: str, screen: int | None, actor: str | None, reason: str, as_json: bool
) -> None:
    """Says what it is about to do, does it once, and waits until risk has taken it."""
    from operations.stack.running import current_settings

    settings, by = current_settings(), audit_note(actor, reason)
    held = _chosen(_held(settings, about, subject), screen)
    if held["decision"] is None:
        note(f"{decision}s {_called(held)} (rule {held['rule']}, score {held['score']}) as {by.actor}")
        _ask(settings, held, decision, by.actor, reason)
        held = _decided(settings, held)
    if as_json:
        say_json(held)
    if (held["decision"], held["actor"]) != (decision, by.actor):
        raise failed(f"tally: {_called(held)} was {DONE[held['decision']]} by {held['actor']} before")
    if not as_json:
        say(f"{_called(held)} is {DONE[decision]} by {held['actor']}")


def _ask(settings: Settings, held: dict[str, Any], decision: Any, actor: str, reason: str) -> None:
    from operations.cli.door_commands import take
    from producers.doors.reviews import ReviewSubmission, claim
    from producers.problems import Problem

    asked = ReviewSubmission(
        held["about"], held["subject"], held["screen_no"], decision, actor, reason, held_at=held["held_at"]
    )
    try:
        take(settings, claim, asked)
    except Problem as problem:
        raise failed(f"tally: {problem.detail}") from None


def _decided(settings: Settings, held: dict[str, Any]) -> dict[str, Any]:
    """The screening once a review of it counts. Exits 1 where none does in time."""
    until = time.monotonic() + HEARD_WITHIN_S
    while time.monotonic() < until:
        [now] = [one for one in _held(settings, held["about"], held["subject"]) if _same(one, held)]
        if now["decision"] is not None:
            return now
        time.sleep(ASK_EVERY_S)
    raise failed(
        f"tally: the review is on its way, and risk has not taken it within {HEARD_WITHIN_S} s"
        " (does the room run? `tally status` says)"
    )


def _held(settings: Settings, about: str, subject: str) -> list[dict[str, Any]]:
    """Newest first. Exits 1 where nothing of it was ever held."""
    from producers.doors.reviews import HELD
    from topics.runtime.shape.reading import read

    where = " WHERE about = %s AND subject = %s ORDER BY screen_no DESC"
    found = read(settings, "risk", HELD + where, [about, subject])
    if not found:
        raise failed(f"tally: no screening of {about} {subject} was ever held (`tally risk list` shows what waits)")
    return found


def _chosen(held: list[dict[str, Any]], screen: int | None) -> dict[str, Any]:
    """The one that is named; else the newest that waits; else the newest."""
    if screen is not None:
        named = [one for one in held if one["screen_no"] == screen]
        if not named:
            raise failed(f"tally: screening {screen} of {held[0]['subject']} is none that was held")
        return named[0]
    return next((one for one in held if one["decision"] is None), held[0])


def _with_reviews(settings: Settings, held: dict[str, Any]) -> dict[str, Any]:
    from topics.runtime.shape.reading import read

    reviews = read(
        settings,
        "risk",
        "SELECT decision, actor, reason, reviewed_at, counts FROM review_view WHERE about = %s AND subject = %s"
        " AND screen_no = %s ORDER BY reviewed_at, event_id",
        [held["about"], held["subject"], held["screen_no"]],
    )
    return held | {"reviews": reviews}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["screen_no"] == other["screen_no"])


def _about(buyer: bool, payout: bool, seller: bool) -> str:
    asked = [about for about, is_it in (("buyer", buyer), ("payout", payout), ("seller", seller)) if is_it]
    if len(asked) > 1:
        raise failed("tally: give one of --buyer, --payout and --seller")
    return asked[0] if asked else "payment"


def _account(held: dict[str, Any]) -> str:
    return f"buyer {held['buyer_account']}" if held["buyer_account"] else f"seller {held['seller_account']}"


def _called(held: dict[str, Any]) -> str:
    return f"{held['about']} {held['subject']}, screening {held['screen_no']}"


def _print(found: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("about", "subject", "screening", "rule", "score", "account", "held (UTC)", "decision")
    for one in found:
        decision = "" if one["decision"] is None else f"{DONE[one['decision']]} by {one['actor']}"
        table.add_row(
            one["about"],
            one["subject"],
            str(one["screen_no"]),
            one["rule"],
            str(one["score"]),
            one["buyer_account"] or one["seller_account"],
            f"{one['held_at']:%m-%d %H:%M:%S}",
            decision,
        )
    table.show()
