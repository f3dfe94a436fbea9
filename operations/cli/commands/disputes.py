"""`tally disputes`: what buyers' banks took back, or ask about; of all owners."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from operations.cli.commands.refunds import in_major_units
from operations.cli.terminal import note, say_json

app = typer.Typer(help="What buyers' banks took back, or ask about.", no_args_is_help=True)

COLUMNS = (
    "d.dispute_id, d.stage, d.payment_order_id, d.checkout_id, d.owner, d.status, d.amount, d.currency, d.fee, d.fee_currency,"
    " d.reason, d.due_by, d.wallet_updated, d.ledger_updated, d.opened_at, d.changed_at"
)
STAGE = ("stage", "amount", "fee", "status", "reason", "answer by (UTC)")


@app.command("list")
def list_disputes(
    order: Annotated[str | None, typer.Option(help="of one payment order")] = None,
    status: Annotated[str | None, typer.Option(help="inquiry, opened, won or lost")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="at most so many")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """Disputes by their last stage, newest first."""
    from operations.cli.cut import cut
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    rows = read(
        current_settings(),
        "payments",
        f"SELECT {COLUMNS} FROM dispute_view d WHERE NOT EXISTS (SELECT FROM dispute_view l"
        " WHERE l.dispute_id = d.dispute_id AND l.stage > d.stage) AND (%s::text IS NULL OR d.payment_order_id = %s)"
        " AND (%s::text IS NULL OR d.status = %s) ORDER BY d.opened_at DESC, d.dispute_id DESC LIMIT %s",
        [order, order, status, status, limit + 1],
    )
    found = [in_major_units(row) for row in cut(rows, limit, "--limit")]
    if as_json:
        say_json({"disputes": found})
    elif found:
        _print(found)
    else:
        note("no such disputes")


@app.command()
def show(
    dispute_id: Annotated[str, typer.Argument(metavar="DISPUTE", help="our id of it: dp_…")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """One dispute, stage by stage."""
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    rows = read(
        current_settings(),
        "payments",
        f"SELECT {COLUMNS} FROM dispute_view d WHERE d.dispute_id = %s ORDER BY d.stage",
        [dispute_id],
    )
    if not rows:
        note(f"no dispute is called {dispute_id}")
        raise typer.Exit(1)
    found = [in_major_units(row) for row in rows]
    if as_json:
        say_json(found[-1] | {"stages": found})
    else:
        _print_stages(found)


def _print(found: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("dispute", "order", *STAGE)
    table.columns[3].justify = "right"
    for one in found:
        table.add_row(one["dispute_id"], one["payment_order_id"], *_stage(one))
    table.show()


def _print_stages(found: list[dict[str, Any]]) -> None:
    from operations.cli.tables import titled

    last = found[-1]
    table = titled(f"{last['dispute_id']} of order {last['payment_order_id']}", *STAGE)
    for one in found:
        table.add_row(*_stage(one))
    table.show()


def _stage(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(one["stage"]),
        f"{one['amount']} {one['currency']}",
        f"{one['fee']} {one['fee_currency']}" if one["fee"] else "",
        one["status"],
        one["reason"],
        f"{one['due_by']:%Y-%m-%d %H:%M}" if one["due_by"] else "",
    )
