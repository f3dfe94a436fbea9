"""`tally ledger …`: balances, entries, the trial balance, and whether balances are what the entries add up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, LiteralString

import typer

from operations.cli.cut import cut
from operations.cli.terminal import note, say_json
from schemas.money import Money

app = typer.Typer(help="The double-entry ledger: balances, entries, trial balance.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="rows at most")]
MORE = "--limit takes up to 10000, and the beginning of a name or an order asks for fewer"


@app.command()
def balances(
    prefix: Annotated[str, typer.Argument(help="accounts whose name begins so, e.g. psp: or seller:s1")] = "",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Debits, credits and balance (debits less credits) of each account."""
    rows = _read(
        "SELECT account, currency, debits, credits, version FROM account_view WHERE starts_with(account, %s)"
        " ORDER BY account, currency LIMIT %s",
        [prefix, limit + 1],
    )
    rows = cut(rows, limit, MORE)
    _show([_balance(row) for row in rows], as_json)


@app.command()
def entries(
    of: Annotated[str, typer.Argument(metavar="ACCOUNT|ORDER", help="an account (has a colon) or a payment order")],
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """The newest entries of an account, or all entries of a payment order."""
    by_account = ":" in of
    rows = cut(_read(_ENTRIES_OF_ACCOUNT if by_account else _ENTRIES_OF_ORDER, [of, limit + 1]), limit, MORE)
    _show([_entry(row) if as_json else _short_entry(row) for row in rows], as_json)
    if not rows:
        note(f"{of} has no entries: neither an account (seller:…:payable) nor a booked payment order")
        raise typer.Exit(1)


_COLUMNS = "posted_at, journal_id::text, line, account, currency, direction, amount, template, payment_order_id"
_ENTRIES_OF_ACCOUNT: LiteralString = (
    f"SELECT {_COLUMNS} FROM entry_view WHERE account = %s ORDER BY journal_id DESC, line LIMIT %s"
)
_ENTRIES_OF_ORDER: LiteralString = (
    f"SELECT {_COLUMNS} FROM entry_view WHERE payment_order_id = %s ORDER BY journal_id, line LIMIT %s"
)


@app.command("trial-balance")
def trial_balance(as_json: AsJson = False) -> None:
    """Debits and credits of all accounts by currency. Exit code 1 where they are not equal."""
    rows = _read("SELECT currency, accounts, debits, credits FROM trial_balance_view ORDER BY currency")
    _show([_totals(row) for row in rows], as_json)
    if any(row["debits"] != row["credits"] for row in rows):
        note("the books do not balance")
        raise typer.Exit(1)


@app.command("rebuild-check")
def rebuild_check(as_json: AsJson = False) -> None:
    """Add every entry up and compare with the balances: lists what differs. Exit code 1 where something does."""
    rows = _read(
        "SELECT account, currency, debits, credits, entry_debits, entry_credits FROM wrong_balance_view ORDER BY 1, 2"
    )
    _show([_difference(row) for row in rows], as_json)
    if rows:
        note(f"{len(rows)} balances are not the sum of their entries")
        raise typer.Exit(1)
    note("every balance is the sum of its entries")


def _balance(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "account": row["account"],
        "currency": row["currency"],
        "debits": _major(row["debits"], row),
        "credits": _major(row["credits"], row),
        "balance": _major(row["debits"] - row["credits"], row),
        "version": row["version"],
    }


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "posted_at": row["posted_at"].isoformat(timespec="milliseconds"),
        "journal_id": row["journal_id"],
        "line": row["line"],
        "account": row["account"],
        "direction": row["direction"],
        "amount": _major(row["amount"], row),
        "currency": row["currency"],
        "template": row["template"],
        "payment_order_id": row["payment_order_id"],
    }


def _short_entry(row: dict[str, Any]) -> dict[str, Any]:
    """What a terminal has room for; --json has it all."""
    sides = dict.fromkeys(("debit", "credit"), "") | {
        row["direction"]: f"{_major(row['amount'], row)} {row['currency']}"
    }
    return {
        "posted": f"{row['posted_at']:%m-%d %H:%M:%S}",
        "account": row["account"],
        **sides,
        "order": row["payment_order_id"],
    }


def _totals(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "currency": row["currency"],
        "accounts": row["accounts"],
        "debits": _major(row["debits"], row),
        "credits": _major(row["credits"], row),
        "balanced": row["debits"] == row["credits"],
    }


def _difference(row: dict[str, Any]) -> dict[str, Any]:
    sums = ("debits", "credits", "entry_debits", "entry_credits")
    return {"account": row["account"], "currency": row["currency"], **{name: _major(row[name], row) for name in sums}}


def _major(minor: Any, row: dict[str, Any]) -> str:
    """Sums come from PostgreSQL as numeric."""
    return Money(int(minor), row["currency"]).amount


def _read(statement: LiteralString, values: Sequence[object] = ()) -> list[dict[str, Any]]:
    from operations.stack.running import current_settings
    from topics.runtime.shape.reading import read

    return read(current_settings(), "ledger", statement, values)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        say_json(rows)
    elif rows:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from operations.cli.tables import Table

    amounts = {
        "debit",
        "credit",
        "debits",
        "credits",
        "balance",
        "amount",
        "entry_debits",
        "entry_credits",
        "accounts",
        "version",
        "line",
    }
    table = Table()
    for name in rows[0]:
        table.add_column(name, justify="right" if name in amounts else "left")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    table.show()
