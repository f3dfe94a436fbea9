"""`tally bench pay-in | refunds | payouts | ledger | letters | recon | outage | screening`: figures, also as JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from operations.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    from operations.stack.running import StackStatus
    from topics.settings import Settings

app = typer.Typer(help="Measure this installation.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("pay-in")
def pay_in(
    as_json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="Length of the throughput phase.")] = 120,
    history: Annotated[int, typer.Option(min=300, max=5_000_000, help="Orders put through before.")] = 60_000,
    seed: Annotated[int, typer.Option(help="Same seed, same amounts and sellers.")] = 1,
) -> None:
    """From HTTP accept to wallet and ledger booked, on the running stack. Its payments stay in the books."""
    from operations.bench.pay_in import PayInPlan, run

    settings, status = _running_stack()
    figures = run(settings, status, PayInPlan(history_orders=history, measure_s=seconds), seed, _progress())
    _show(figures, as_json)


@app.command()
def refunds(
    as_json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="Length of the throughput phase.")] = 60,
    orders: Annotated[
        int, typer.Option(min=300, max=1_000_000, help="Orders captured before, refunded twice each.")
    ] = (24_000),
    seed: Annotated[int, typer.Option(help="Same seed, same amounts and sellers.")] = 1,
) -> None:
    """From HTTP accept to done at the PSP, in wallet and ledger, on the running stack. What it moves stays in the books."""
    from operations.bench.bookings import BookingsPlan
    from operations.bench.refunds import run

    settings, status = _running_stack()
    _show(run(settings, status, orders, BookingsPlan(measure_s=seconds), seed, _progress()), as_json)


@app.command()
def payouts(
    as_json: Json = False,
    seconds: Annotated[float, typer.Option(min=5, max=600, help="Length of the throughput phase.")] = 60,
    sellers: Annotated[int, typer.Option(min=1, max=10_000, help="Sellers that are paid.")] = 50,
    seed: Annotated[int, typer.Option(help="Same seed, same amounts and sellers.")] = 1,
) -> None:
    """From HTTP accept to submitted at the provider, in wallet and ledger, on the running stack, beside the rooms alone.

    What it moves stays.
    """
    from operations.bench.bookings import BookingsPlan
    from operations.bench.payouts import run

    settings, status = _running_stack()
    _show(run(settings, status, sellers, BookingsPlan(measure_s=seconds), seed, _progress()), as_json)


@app.command()
def ledger(
    as_json: Json = False,
    journals: Annotated[
        int, typer.Option(min=1000, max=5_000_000, help="Journals of each run, and of the floor.")
    ] = 400_000,
    processes: Annotated[int, typer.Option(min=1, max=12, help="Processes of the room.")] = 2,
    batch: Annotated[int, typer.Option(min=1, max=5000, help="Payments in a batch at most.")] = 2000,
) -> None:
    """The ledger room fed from Kafka, and its floor, in a database and under a topic prefix of their own."""
    from operations.bench.ledger import LedgerPlan, run
    from operations.stack.running import current_settings

    plan = LedgerPlan(journals=journals, processes=processes, batch_max=batch)
    _show(run(current_settings(), plan, note), as_json)


@app.command()
def letters(
    as_json: Json = False,
    letters: Annotated[int, typer.Option(min=100, max=1_000_000, help="Dead letters.")] = 10_000,
    rate: Annotated[int, typer.Option(min=10, help="Replays a second that are allowed.")] = 5000,
) -> None:
    """A replay of many dead letters, interrupted and resumed, in a database and under a topic prefix of their own."""
    from operations.bench.letters import LettersPlan, run
    from operations.stack.host import build
    from operations.stack.logs import configure_logs
    from operations.stack.running import current_settings

    settings = current_settings()
    configure_logs(settings.model_copy(update={"log_level": "error"}))  # each letter logs a warning
    plan = LettersPlan(letters=letters, rate=rate)
    _show(run(settings, partial(build, "payments"), plan, note), as_json)


@app.command()
def recon(
    as_json: Json = False,
    lines: Annotated[
        int, typer.Option(min=2000, max=10_000_000, help="Lines of the file, and of two files together.")
    ] = 1_000_000,
    workers: Annotated[int, typer.Option(min=1, max=12, help="Processes that fold lines.")] = 2,
    seed: Annotated[int, typer.Option(help="Same seed, same lines.")] = 1,
    pay_in: Annotated[
        float, typer.Option(min=0, max=600, help="Instead: pay-in of the running stack, so many seconds a turn.")
    ] = 0,
    tallies: Annotated[
        int,
        typer.Option(
            min=0, max=100_000_000, help="Instead: fold beside so many tallies of other payments, and archive them."
        ),
    ] = 0,
) -> None:
    """A large settlement file from the door to booked, and its floor, in a database and under a topic prefix of their own."""
    from operations.bench import recon, recon_beside, recon_year
    from operations.stack.running import current_settings

    if tallies:
        year = recon_year.YearPlan(tallies, lines=min(lines, recon_year.LINES_MAX), seed=seed)
        _show(recon_year.run(current_settings(), year, note), as_json)
        return
    if pay_in:
        settings, status = _running_stack()
        beside = recon_beside.BesidePlan(seconds=pay_in, lines=lines, workers=workers, seed=seed)
        _show(recon_beside.run(settings, status, beside, note), as_json)
        return
    _show(recon.run(current_settings(), recon.ReconPlan(lines=lines, workers=workers, seed=seed), note), as_json)


@app.command()
def outage(
    *,
    as_json: Json = False,
    psp: Annotated[str, typer.Option(help="northpay, southpay or all: failover could hide one alone.")] = "all",
    hang: Annotated[
        bool, typer.Option("--hang", help="It accepts connections and never answers, in place of a 503.")
    ] = False,
    rate: Annotated[float, typer.Option(min=1, max=1000, help="Orders a second.")] = 50,
    minutes: Annotated[float, typer.Option(min=0.05, max=50, help="Length of the outage.")] = 5,
    before: Annotated[float, typer.Option(min=3, max=600, help="Seconds of load before it.")] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same amounts and sellers.")] = 1,
) -> None:
    """A PSP down under a steady load, on the running stack: lost, doubled, given up, and the drain on its return."""
    from operations.bench.outage import OutagePlan, run
    from operations.cli.commands.sim import call, change

    settings, status = _running_stack()
    plan = OutagePlan(psp, "hang" if hang else "refuse", rate, outage_s=minutes * 60, before_s=before)
    _show(run(settings, status, plan, seed, change, call("GET", "/control/faults"), note), as_json)


@app.command()
def screening(
    as_json: Json = False,
    entries: Annotated[int, typer.Option(min=100, max=200_000, help="Entries of the invented list.")] = 20_000,
    cases: Annotated[int, typer.Option(min=100, max=200_000, help="Variants, and as many near misses.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Same seed, same names.")] = 1,
) -> None:
    """Names against an invented sanctions list: found, wrongly found, CPU a name beside a plain scan. Needs no stack."""
    from operations.bench.screening import run

    _show(run(seed, entries, cases), as_json)


def _running_stack() -> tuple[Settings, StackStatus]:
    """Errors: StackError where it is not ready."""
    from operations.stack.home import Home, StackError
    from operations.stack.running import current_settings, stack_status

    settings = current_settings()
    status = stack_status(Home(settings.home))
    if not status.ready:
        raise StackError("the stack is not ready: `tally status` says why")
    return settings, status


def _progress() -> Callable[[str, float], None]:
    shown = {"at": ""}

    def tell(phase: str, share: float) -> None:
        line = f"{phase} {int(share * 20) * 5} %"
        if line != shown["at"]:
            shown["at"] = line
            note(line)

    return tell


def _show(figures: dict[str, object], as_json: bool) -> None:
    if as_json:
        say_json(figures)
        return
    for name, value in figures.items():
        say(f"{name:32} {value}")
