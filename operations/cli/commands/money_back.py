"""`tally capture`, `void`, `refund`: what is done behind a charge, over the API; shows it moving."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from operations.cli.commands.pay import ASK_EVERY_S, Api, running_api
from operations.cli.terminal import note, say, say_json

app = typer.Typer()

ENDED = ("failed", "refused", "reversed")
Order = Annotated[str, typer.Argument(metavar="ORDER", help="payment order id")]
Id = Annotated[str | None, typer.Option("--id", help="ours to choose; the same again is a replay")]
Amount = Annotated[str | None, typer.Option(help="as the order's currency is written; left out: all that is left")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="stay until it is done and booked")]
Timeout = Annotated[float, typer.Option(min=1, help="seconds to watch at most")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout")]


@app.command()
def capture(
    order: Order,
    amount: Amount = None,
    final: Annotated[bool, typer.Option("--final", help="give up what is left")] = False,
    id_: Id = None,
    watch: Watch = False,
    timeout: Timeout = 60,
    as_json: AsJson = False,
) -> None:
    """Capture what is authorised, or a part of it. Exits 1 where --watch does not see it succeed in time."""
    api = running_api()
    found = _order(api, order)
    body = {
        "capture_id": id_ or new_id("capture"),
        "payment_order_id": order,
        "amount": amount or found["amount_capturable"],
        "currency": found["currency"],
        "final": final,
    }
    asked = api.call("POST", f"/v1/payments/{found['checkout_id']}/captures", body)
    _tell("capture", asked, lambda: _of_order(api, order, "capture", asked), watch, timeout, as_json)


@app.command()
def void(order: Order, id_: Id = None, watch: Watch = False, timeout: Timeout = 60, as_json: AsJson = False) -> None:
    """Give up what is authorised and not captured. Exits 1 where --watch does not see it succeed in time."""
    api = running_api()
    found = _order(api, order)
    body = {"void_id": id_ or new_id("void"), "payment_order_id": order}
    asked = api.call("POST", f"/v1/payments/{found['checkout_id']}/voids", body)
    _tell("void", asked, lambda: _of_order(api, order, "void", asked), watch, timeout, as_json)


@app.command()
def refund(
    order: Order,
    amount: Amount = None,
    reason: Annotated[str | None, typer.Option(help="kept with the refund, and given back")] = None,
    id_: Id = None,
    watch: Watch = False,
    timeout: Timeout = 60,
    as_json: AsJson = False,
) -> None:
    """Refund what was captured, or a part of it. Exits 1 where --watch does not see it succeed in time."""
    api = running_api()
    found = _order(api, order)
    body = {
        "refund_id": id_ or new_id("refund"),
        "payment_order_id": order,
        "amount": amount or _left(found),
        "currency": found["currency"],
    }
    asked = api.call("POST", "/v1/refunds", body | ({"reason": reason} if reason else {}))
    _tell("refund", asked, lambda: api.call("GET", asked["links"]["self"]), watch, timeout, as_json)


def new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"


def _order(api: Api, order: str) -> dict[str, Any]:
    return api.call("GET", f"/v1/payment-orders/{order}")


def _left(order: dict[str, Any]) -> str:
    """What was captured and has not gone back; where nothing was yet, all of the order."""
    from schemas.money import Money

    currency = order["currency"]
    captured = Money.parse(order.get("amount_captured") or Money.zero(currency).amount, currency)
    if not captured.minor:
        return str(order["amount"])
    return (captured - Money.parse(order["amount_refunded"], currency)).amount


def _of_order(api: Api, order: str, kind: str, asked: dict[str, Any]) -> dict[str, Any]:
    """As the order shows it; as it was accepted while payments has not heard of it."""
    listed: list[dict[str, Any]] = _order(api, order).get(f"{kind}s", [])
    return next((one for one in listed if one[f"{kind}_id"] == asked[f"{kind}_id"]), asked)


def _tell(
    kind: str, asked: dict[str, Any], look: Callable[[], dict[str, Any]], watch: bool, timeout_s: float, as_json: bool
) -> None:
    state = _watched(kind, asked, look, timeout_s) if watch else asked
    if as_json:
        say_json(state)
    elif watch:
        say(line(kind, state))
    else:
        say(state[f"{kind}_id"])
        note(f"accepted; `tally show {state['payment_order_id']}` says where it stands")
    if watch and not is_done(kind, state):
        late = "" if state["status"] in ENDED else f" after {timeout_s:g} s at most"
        note(f"tally: {state[f'{kind}_id']} is {state['status']}{_why(state)}{late}")
        raise typer.Exit(1)


def _watched(kind: str, state: dict[str, Any], look: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any]:
    """Each new state on stderr, until it is done or can come no further."""
    started = time.monotonic()
    while not (is_done(kind, state) or state["status"] in ENDED) and time.monotonic() - started < timeout_s:
        time.sleep(ASK_EVERY_S)
        before, state = state, look()
        if (before["status"], before["detail"]) != (state["status"], state["detail"]):
            note(f"{time.monotonic() - started:.1f} s  {state['status']}{_why(state)}")
    return state


def is_done(kind: str, state: dict[str, Any]) -> bool:
    """A void moves no money, so nobody books it."""
    booked = kind == "void" or (state["wallet_updated"] and state["ledger_updated"])
    return state["status"] == "succeeded" and booked


def _why(state: dict[str, Any]) -> str:
    why = state["code"] or state["detail"]
    return f" ({why})" if why else ""


def line(kind: str, state: dict[str, Any]) -> str:
    amount = f" · {state['amount']} {state['currency']}" if state["amount"] else ""
    return f"{kind} {state[f'{kind}_id']} · {state['status']}{_why(state)}{amount}"
