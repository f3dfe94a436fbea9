"""`tally refunds`: what went back to buyers, or is to go; of all owners."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from operations.cli.terminal import note, say_json

app = typer.Typer(help="What went back to buyers, or is to go.", no_args_is_help=True)

COLUMNS = (
    "refund_id, payment_order_id, checkout_id, owner, amount, currency, status, detail, code, reason,"
    " wallet_updated, ledger_updated, requested_at, changed_at"
)
# With those that payments refused after the door had accepted them: payments does not keep their amounts.
REFUNDS = """(
SELECT operation_id AS refund_id, payment_order_id, checkout_id, owner, amount, currency, status, detail, code, reason,
       wallet_updated, ledger_updated, requested_at, changed_at FROM operation_view WHERE kind = 'refund'
UNION ALL
SELECT operation_id, payment_order_id, checkout_id, owner, NULL, NULL, 'refused', detail, code, NULL, false, false, at, at
  FROM operation_refusal_view r WHERE kind = 'refund'
   AND NOT EXISTS (SELECT FROM operation_view o WHERE o.kind = r.kind AND o.operation_id = r.operation_id)
) AS refunds"""


@app.command("list")
def list_refunds(
    order: Annotated[str | None, typer.Option(help="of one payment order")] = None,
    status: Annotated[str | None, typer.Option(help="processing, succeeded, failed, reversed or refused")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="at most so many")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """Refunds, newest first."""
    from operations.cli.cut import cut
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    rows = read(
        current_settings(),
        "payments",
        f"SELECT {COLUMNS} FROM {REFUNDS} WHERE (%s::text IS NULL OR payment_order_id = %s)"
        " AND (%s::text IS NULL OR status = %s) ORDER BY requested_at DESC, refund_id DESC LIMIT %s",
        [order, order, status, status, limit + 1],
    )
    found = [in_major_units(row) for row in cut(rows, limit, "--limit")]
    if as_json:
        say_json({"refunds": found})
    elif found:
        _print(found)
    else:
        note("no such refunds")


@app.command()
def show(
    refund_id: Annotated[str, typer.Argument(metavar="REFUND", help="refund id")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """One refund; `tally show` of its order has all that happened."""
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    rows = read(
        current_settings(),
        "payments",
        f"SELECT {COLUMNS} FROM {REFUNDS} WHERE refund_id = %s ORDER BY requested_at DESC",
        [refund_id],
    )
    if not rows:
        note(f"no refund is called {refund_id}")
        raise typer.Exit(1)
    found = in_major_units(rows[0])
    if as_json:
        say_json(found)
    else:
        _print([found])
        note(f"`tally show {found['payment_order_id']}` has all that happened")


def in_major_units(row: dict[str, Any]) -> dict[str, Any]:
    from schemas.money import Money

    currencies = {"amount": row["currency"], "fee": row.get("fee_currency")}
    found = {name: currency for name, currency in currencies.items() if row.get(name) is not None}
    return row | {name: Money(row[name], currency).amount for name, currency in found.items()}


def _print(found: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    table = Table("refund", "order", "amount", "status", "code", "wallet", "ledger", "asked (UTC)")
    table.columns[2].justify = "right"
    for one in found:
        table.add_row(
            one["refund_id"],
            one["payment_order_id"],
            f"{one['amount']} {one['currency']}" if one["amount"] else "",
            one["status"],
            one["code"] or one["detail"],
            "✓" if one["wallet_updated"] else "",
            "✓" if one["ledger_updated"] else "",
            f"{one['requested_at']:%m-%d %H:%M:%S}",
        )
    table.show()
