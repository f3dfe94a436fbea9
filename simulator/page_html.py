"""What a buyer sees of a payment → the HTML of a PSP's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Literal
from urllib.parse import urlsplit

from simulator.cards import TEST_CARDS
from simulator.http import Answer
from simulator.memory import Charge

Step = Literal["card", "3ds", "paid", "declined", "unknown", "down"]
_STATUSES: Mapping[Step, int] = {"unknown": 404, "down": 503}
_BRANDS = {"northpay": ("Northpay", "#1f5eff", "#0b2a7a"), "southpay": ("Southpay", "#0b7a5c", "#08402f")}
_REFUSED = {
    "insufficient_funds": "There is not enough money on this card.",
    "expired_card": "Your bank says that this card has expired.",
    "authentication_failed": "The payment was not confirmed.",
}
_ENDED = {
    "page_expired": ("This page has expired", "Nothing was charged. Please go back to the shop and start again."),
    "cancelled_by_buyer": ("Payment cancelled", "Nothing was charged."),
}
_STYLE = """
*{box-sizing:border-box}
body{margin:0;min-height:100vh;font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;
 color:#1a2233;background:#eef1f6;display:flex;flex-direction:column;align-items:center;padding:32px 16px}
main{width:100%;max-width:440px;background:#fff;border-radius:14px;box-shadow:0 1px 2px #1a223314,0 12px 32px #1a22331a;
 overflow:hidden}
header{background:linear-gradient(135deg,var(--main),var(--dark));color:#fff;padding:20px 28px 24px}
header .brand{font-weight:700;letter-spacing:.02em;opacity:.95}
header .amount{font-size:34px;font-weight:700;line-height:1.2;margin-top:14px}
header .order{opacity:.85;font-size:14px;overflow-wrap:anywhere}
.body{padding:24px 28px 28px}
h1{font-size:20px;margin:0 0 8px}
p{margin:0 0 16px}
label{display:block;font-size:14px;font-weight:600;margin:0 0 16px}
input{display:block;width:100%;margin-top:6px;padding:10px 12px;font:inherit;font-size:16px;font-weight:400;
 border:1px solid #b9c1d1;border-radius:8px;
 background:#fff;color:inherit}
input::placeholder{color:#6b7485}
input:focus{outline:3px solid color-mix(in srgb,var(--main) 25%,transparent);border-color:var(--main)}
input[aria-invalid=true]{border-color:#c0262d}
.wrong{display:block;color:#c0262d;font-weight:400;margin-top:4px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:16px}
button,a.button{display:block;width:100%;padding:13px;font:inherit;font-weight:600;text-align:center;border:0;
 border-radius:8px;cursor:pointer;text-decoration:none}
.first{background:var(--main);color:#fff}.first:hover{background:var(--dark)}
.second{background:none;color:#4a5568;margin-top:8px}.second:hover{background:#f2f4f8}
.banner{border-radius:8px;padding:12px 14px;margin:0 0 20px;background:#fdecec;color:#8f1a20;font-size:15px}
.mark{width:52px;height:52px;border-radius:50%;display:flex;align-items:center;justify-content:center;font-size:26px;
 color:#fff;margin:0 0 14px}
.good{background:#12805c}.bad{background:#7a8499}
details{margin-top:20px;font-size:14px;color:#4a5568}summary{cursor:pointer}
table{width:100%;border-collapse:collapse;margin-top:8px}td{padding:4px 0;vertical-align:top}
td:first-child{font-family:ui-monospace,"DejaVu Sans Mono",monospace;white-space:nowrap;padding-right:14px}
footer{margin-top:18px;font-size:13px;color:#5b6578;text-align:center}
"""


@dataclass(frozen=True, slots=True)
class PageView:
    """One look at a page. `wrong` is by field; what was typed is never shown again."""

    step: Step
    psp: str
    charge: Charge | None = None
    exponent: int = 0
    form: str = ""
    refused: str = ""
    scheme: str = ""
    wrong: Mapping[str, str] = field(default_factory=dict)


def page_answer(view: PageView) -> Answer:
    """No script runs on the page, nobody may frame or keep it, and the shop does not learn its address."""
    back = urlsplit(view.charge.return_url) if view.charge else None
    # Browsers hold the redirect after a form to form-action, too.
    allowed = f"'self' {back.scheme}://{back.netloc}" if back else "'self'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; form-action {allowed}; frame-ancestors 'none'"
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Answer(_STATUSES.get(view.step, 200), _page(view).encode(), headers, "text/html; charset=utf-8")


def _page(view: PageView) -> str:
    name, main, dark = _BRANDS[view.psp]
    title, body = _body(view)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · {name}</title><style>:root{{--main:{main};--dark:{dark}}}{_STYLE}</style></head>"
        f'<body><main><header><div class="brand">{name}</div>{_sum(view)}</header><div class="body">{body}</div></main>'
        f"<footer>{name} is a simulated payment provider. No money moves.</footer></body></html>"
    )


def _sum(view: PageView) -> str:
    if view.charge is None:
        return ""
    return f'<div class="amount">{_amount(view)}</div><div class="order">Order {escape(view.charge.order_id)}</div>'


def _amount(view: PageView) -> str:
    assert view.charge is not None
    digits = str(view.charge.amount).rjust(view.exponent + 1, "0")
    whole, rest = (digits[: -view.exponent], "." + digits[-view.exponent :]) if view.exponent else (digits, "")
    return f"{int(whole):,}{rest} {escape(view.charge.currency)}"


def _body(view: PageView) -> tuple[str, str]:
    """The title, and what stands below the amount."""
    match view.step:
        case "card":
            return "Pay", _card_form(view)
        case "3ds":
            return "Confirm the payment", _confirmation(view)
        case "paid":
            return _end(view, "good", "✓", "Already paid", "This payment is complete. You were charged once.")
        case "declined":
            assert view.charge is not None
            said = _ENDED.get(view.charge.decline_code or "", ("Payment failed", "Nothing was charged."))
            return _end(view, "bad", "–", *said)
        case "unknown":
            return _end(view, "bad", "?", "No such payment", "There is nothing to pay at this address.")
        case "down":
            return _end(view, "bad", "!", "One moment", "This page is not available now. Please reload it later.")


def _end(view: PageView, look: str, mark: str, title: str, text: str) -> tuple[str, str]:
    back = ""
    if view.charge is not None:
        url = escape(view.charge.return_url)
        back = f'<a class="button first" id="back" href="{url}" rel="noreferrer">Back to the shop</a>'
    return title, f'<div class="mark {look}" aria-hidden="true">{mark}</div><h1>{title}</h1><p>{text}</p>{back}'


def _card_form(view: PageView) -> str:
    banner = ""
    if view.refused:
        why = _REFUSED.get(view.refused, "Your bank declined this card.")
        banner = f'<div class="banner" role="alert">{why} Nothing was charged: please try another card.</div>'
    cards = "".join(f"<tr><td>{number}</td><td>{what}</td></tr>" for number, what in TEST_CARDS)
    return (
        f'<form method="post" autocomplete="on">{banner}{_hidden(view)}'
        + _field(view, "number", "Card number", "cc-number", "1234 1234 1234 1234", r"[0-9 \-]{12,24}")
        + '<div class="pair">'
        + _field(view, "expiry", "Expiry", "cc-exp", "MM / YY", "(0[1-9]|1[0-2]) */ *(20)?[0-9]{2}")
        + _field(view, "cvc", "Security code", "cc-csc", "CVC", "[0-9]{3,4}")
        + "</div>"
        + '<label>Name on card<input name="name" autocomplete="cc-name" maxlength="64"></label>'
        f'<button class="first" name="act" value="pay">Pay {_amount(view)}</button>'
        '<button class="second" name="act" value="cancel" formnovalidate>Cancel and go back</button></form>'
        f"<details><summary>Test cards</summary><table>{cards}</table>Any later expiry date, any code.</details>"
    )


def _field(view: PageView, name: str, label: str, autocomplete: str, like: str, pattern: str) -> str:
    wrong, told, mark = view.wrong.get(name), "", ""
    if wrong:
        mark, told = ' aria-invalid="true"', f'<span class="wrong">{escape(wrong)}</span>'
    return (
        f'<label>{label}<input name="{name}" inputmode="numeric" autocomplete="{autocomplete}" placeholder="{like}"'
        f' pattern="{pattern}" title="{like}" maxlength="24" required{mark}>{told}</label>'
    )


def _confirmation(view: PageView) -> str:
    return (
        f"<h1>Confirm with your bank</h1><p>Your bank asks whether it is you who pays {_amount(view)} with your "
        f"{escape(view.scheme.capitalize())} card (3-D Secure).</p>"
        f'<form method="post">{_hidden(view)}<button class="first" name="act" value="confirm">Yes, it is me</button>'
        '<button class="second" name="act" value="reject">No, this is not me</button></form>'
    )


def _hidden(view: PageView) -> str:
    return f'<input type="hidden" name="form" value="{view.form}">'
