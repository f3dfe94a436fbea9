"""`tally pay`: a real payment over the API, with demo data; shows it moving."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operations.cli.terminal import note, say, say_json
from operations.http_client import HttpAnswer, NoAnswer, http_request
from operations.stack.home import Home, NoStack, StackError, read_json

if TYPE_CHECKING:
    from operations.cli.tables import Table

app = typer.Typer()

ASK_EVERY_S = 0.1
REPLY_WITHIN_S = 10.0
BUYERS = ("Ada Bauer", "Kofi Mensah", "Mei Lin", "Jonas Berg", "Lucía Prado")
GOODS = ("two cups", "a lamp", "a bicycle bell", "six plates", "an atlas", "a wool hat")
SYMBOLS = {"NOT_STARTED": ("waits", "dim"), "EXECUTING": ("at the PSP", "yellow"), "SUCCESS": ("captured", "green")}


class Refused(StackError):
    """The API's reason, and its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Api:
    """Where payments are asked for, and the key that opens it."""

    url: str
    key: str

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Errors: Refused; ConnectionError where there is no answer."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = http_request(method, self.url + path, data, headers, timeout_s=REPLY_WITHIN_S)
        except NoAnswer as error:
            raise ConnectionError(f"the API at {self.url} does not answer: {error}") from None
        if answer.status >= 400:
            raise Refused(answer.status, _reason(answer))
        told: dict[str, Any] = answer.json() or {}
        return told


@app.command()
def pay(
    orders: Annotated[int, typer.Option(min=1, max=100, help="how many sellers are paid")] = 3,
    token: Annotated[str, typer.Option(help="how the buyer pays; docs/psp.md lists those that fail")] = "tok_visa",
    currency: Annotated[str, typer.Option(help="ISO 4217")] = "EUR",
    checkout_id: Annotated[str | None, typer.Option(help="ours to choose; the same again is a replay")] = None,
    capture: Annotated[
        str, typer.Option(help="automatic, or manual: authorise, and `tally capture` later")
    ] = "automatic",
    hosted: Annotated[
        bool, typer.Option("--hosted", help="one order, which the buyer pays on a page of the PSP's: prints where")
    ] = False,
    return_url: Annotated[
        str | None, typer.Option(help="where that page sends the buyer back to; default: the API's documentation")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="stay until every order is through")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to watch at most")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """Pay: one checkout, several orders, over the API; or one order on a page of the PSP's. Exits 1 where --watch does not see
    it done in time.
    """
    api = running_api()
    request = demo_request(checkout_id or new_id(), 1 if hosted else orders, token, currency)
    if capture != "automatic":
        request["capture"] = capture
    if hosted:
        request["return_url"] = return_url or f"{api.url}/docs"
        del request["payment_method"]
    payment = api.call("POST", "/v1/checkout-sessions" if hosted else "/v1/payments", request)
    if hosted:
        payment = last(follow(api, payment, REPLY_WITHIN_S, until=page_of))
        _show_page(payment, as_json)
    if watch:
        states = follow(api, payment, timeout)
        payment = last(states) if as_json else _show_live(states)
    if as_json:
        say_json(payment)
    elif not watch and not hosted:
        say(payment["checkout_id"])
        note(f"accepted; `tally show {payment['checkout_id']}` says where it stands")
    if watch and not is_settled(payment):
        raise _failed(f"{payment['checkout_id']} is not done after {timeout:g} s")


def page_of(payment: dict[str, Any]) -> str | None:
    """Where the buyer pays; "" where nobody can any more, None while nobody can yet."""
    orders = payment["payment_orders"]
    action = orders[0].get("next_action") if orders else None
    if action is not None:
        return str(action["redirect_url"])
    return "" if is_settled(payment) else None


def _show_page(payment: dict[str, Any], as_json: bool) -> None:
    url = page_of(payment)
    if url is None:
        raise _failed(
            f"no PSP has named a page yet; `tally show {payment['checkout_id']}` says where the payment stands"
        )
    if url and not as_json:
        say(url)
        note(f"{payment['checkout_id']} waits for its buyer there; cards to try stand on the page")


def running_api() -> Api:
    from operations.stack.running import current_settings, read_api_key

    home = Home(current_settings().home)
    url, key = read_json(home.state).get("api_url"), read_api_key(home)
    if not url or not key:
        raise NoStack
    return Api(str(url).rstrip("/"), key)


def new_id() -> str:
    return f"demo-{secrets.token_hex(4)}"


def demo_request(checkout_id: str, orders: int, token: str, currency: str) -> dict[str, Any]:
    """The same id always gives the same request, so that paying again is a replay."""
    chance = random.Random(checkout_id)
    return {
        "checkout_id": checkout_id,
        "buyer_info": {"buyer_account": f"buyer-{chance.randrange(1000)}", "name": chance.choice(BUYERS)},
        "payment_method": {"token": token},
        "description": chance.choice(GOODS),
        "payment_orders": [_order(checkout_id, number, currency, chance) for number in range(1, orders + 1)],
    }


def _order(checkout_id: str, number: int, currency: str, chance: random.Random) -> dict[str, str]:
    from schemas.money import InvalidMoney, Money, exponent

    try:
        cents = chance.randrange(500, 20_000) * 10 ** exponent(currency) // 100
    except InvalidMoney as error:
        raise _failed(f"{currency}: {error}") from None
    return {
        "payment_order_id": f"{checkout_id}-{number}",
        "seller_account": f"seller-{chance.randrange(1, 21)}",
        "amount": Money(cents, currency).amount,
        "currency": currency,
        "platform_fee": Money(cents // 20, currency).amount,
    }


# ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def follow(
    api: Api, payment: dict[str, Any], timeout_s: float, until: Callable[[dict[str, Any]], object] | None = None
) -> Iterator[tuple[float, dict[str, Any]]]:
    """The payment again and again, with the seconds since it was accepted, until it is settled, or `until` says something,
    or time is up.
    """
    ends = until or is_settled
    started = time.monotonic()
    yield 0.0, payment
    while ends(payment) in (None, False) and time.monotonic() - started < timeout_s:
        time.sleep(ASK_EVERY_S)
        payment = api.call("GET", payment["links"]["self"])
        yield time.monotonic() - started, payment


def is_settled(payment: dict[str, Any]) -> bool:
    """Done; or nothing moves on until captures are asked for."""
    orders = payment["payment_orders"]
    waits = [one for one in orders if one["detail"] in ("authorised", "partly_captured")]
    through = [one for one in orders if one["payment_order_status"] == "FAILED" or one["ledger_updated"]]
    return bool(payment["is_payment_done"] or (waits and len(waits) + len(through) == len(orders)))


def last(states: Iterator[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    *_, (_, payment) = states
    return payment


def _show_live(states: Iterator[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    from rich.live import Live

    from operations.cli.tables import console

    with Live(console=console(), refresh_per_second=12) as live:
        for elapsed_s, payment in states:
            live.update(_picture(elapsed_s, payment))
    if not live.console.is_terminal:
        live.console.print()  # rich leaves the last line open there
    return payment


def _picture(elapsed_s: float, payment: dict[str, Any]) -> Table:
    from rich.text import Text

    from operations.cli.tables import titled

    done = " · done" if payment["is_payment_done"] else ""
    title = f"{payment['checkout_id']} · {payment['status']} · {elapsed_s:.1f} s{done}"
    table = titled(title, "order", "seller", "amount", "state", "wallet", "ledger")
    table.columns[2].justify = "right"
    for order in payment["payment_orders"]:
        state = _state(order)
        table.add_row(
            order["payment_order_id"],
            order["seller_account"],
            f"{order['amount']} {order['currency']}",
            Text(*state),
            Text("✓" if order["wallet_updated"] else "", "green"),
            Text("✓" if order["ledger_updated"] else "", "green"),
        )
    return table


def _state(order: dict[str, Any]) -> tuple[str, str]:
    """In words, and their style."""
    if order["detail"] in ("authorised", "partly_captured", "action_required"):
        return order["detail"].replace("_", " "), "cyan"
    return SYMBOLS.get(order["payment_order_status"], (order["detail"] or "failed", "red"))


def _reason(answer: HttpAnswer) -> str:
    try:
        problem = answer.json()
        return f"{problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"the API answered {answer.status}"


def _failed(message: str) -> typer.Exit:
    note(f"tally: {message}")
    return typer.Exit(1)
