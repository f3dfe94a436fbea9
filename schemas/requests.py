"""Requests that doors accept, by HTTP and Kafka, and the stable codes of errors in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, from_json, to_json
from pydantic_core.core_schema import ErrorType

from schemas.countries import COUNTRIES
from schemas.ids import NewId, NewOperationId, PaymentOrderId, Token
from schemas.money import InvalidMoney, Money, exponent
from schemas.text import FreeText, Refusal, looks_like_card_number, refuse_card_number
from schemas.times import Instant
from schemas.urls import ReturnUrl

BODY_MAX = 256 * 1024  # bytes, by HTTP or on a topic
ORDERS_MAX = 100
METADATA_MAX = 20
ERRORS_MAX = 1000  # of one body; more errors are not listed


def _known_country(code: str) -> str:
    if code not in COUNTRIES:
        raise PydanticCustomError("invalid_country", "two capital letters of ISO 3166-1")
    return code


Country = Annotated[str, AfterValidator(_known_country)]
Email = Annotated[
    str,
    StringConstraints(pattern=r"^[^@\s\x00]{1,64}@[^@\s\x00]{1,189}$"),
    Refusal("invalid_email", "an e-mail address of at most 254 characters"),
    AfterValidator(refuse_card_number),
]


class RequestPart(BaseModel):
    """What of a request is an object: unknown fields are refused, and nothing is converted."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        cache_strings="keys",
        defer_build=True,
    )


class BuyerInfo(RequestPart):
    """Who pays. Name, e-mail and country are used by risk alone."""

    buyer_account: NewId
    name: Annotated[str, FreeText(200)] | None = None
    email: Email | None = None
    country: Country | None = None


class PaymentMethod(RequestPart):
    """How: a token that the PSPs know, or a page of the PSP's on which the buyer pays. Never card data."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["token"]}, {"required": ["type", "return_url"]}]}
    )
    token: Token | None = None
    type: Literal["hosted"] | None = None
    return_url: ReturnUrl | None = None  # where the page sends the buyer back to: no proof of payment

    def fault(self) -> ValidationError | None:
        """What is missing, or too much."""
        if self.type is None and self.return_url is None:
            return _missing("token") if self.token is None else None
        if self.token is not None:
            return broken_field(("payment_method", "token"), "unknown_field", "a hosted page has no token")
        if self.type is None:
            return _missing("type")
        return _missing("return_url") if self.return_url is None else None


def _missing(field: str) -> ValidationError:
    return broken_field(("payment_method", field), "missing_field", "this field is required")


class RequestedOrder(RequestPart):
    """One seller's part of the checkout. Amounts are the caller's decimal strings, checked as money."""

    payment_order_id: NewId
    seller_account: NewId
    amount: str
    currency: str
    platform_fee: str | None = None

    @property
    def gross(self) -> Money:
        return Money.parse(self.amount, self.currency)

    @property
    def fee(self) -> Money:
        """The platform's fee; zero if none is named."""
        if self.platform_fee is None:
            return Money.zero(self.currency)
        return Money.parse(self.platform_fee, self.currency)

    @model_validator(mode="after")
    def _is_money(self) -> Self:
        gross = positive_amount(self.amount, self.currency)
        if self.platform_fee is not None:
            fee = amount_at("platform_fee", self.platform_fee, self.currency)
            if fee.minor > gross.minor:
                raise broken_field("platform_fee", "fee_above_amount", "the fee must not be more than the amount")
        return self


Capture = Annotated[
    Literal["automatic", "manual"],
    Refusal("invalid_capture", "automatic: the charge takes the money; manual: it authorises, captures are asked for"),
]


RequestedOrders = Annotated[tuple[RequestedOrder, ...], Field(max_length=ORDERS_MAX, json_schema_extra={"minItems": 1})]
Description = Annotated[str, FreeText(500)]
Metadata = Annotated[dict[Annotated[str, FreeText(40)], Annotated[str, FreeText(200)]], Field(max_length=METADATA_MAX)]


class PaymentRequest(RequestPart):
    """One checkout: who pays, how, and which sellers get what."""

    checkout_id: NewId
    buyer_info: BuyerInfo
    payment_method: PaymentMethod
    payment_orders: RequestedOrders
    deadline: Instant | None = None
    capture: Capture | None = None  # None: automatic
    description: Description | None = None
    metadata: Metadata = {}

    @model_validator(mode="after")
    def _is_one_checkout(self) -> Self:
        method = self.payment_method
        if (method.token is None or method.type or method.return_url) and (fault := method.fault()):
            raise fault
        _check_orders(self.payment_orders)
        if method.type is not None:
            _check_hosted(self.payment_orders)
        return self


class CheckoutSessionRequest(RequestPart):
    """One checkout of one order, which the buyer pays on a page of the PSP's."""

    checkout_id: NewId
    buyer_info: BuyerInfo
    return_url: ReturnUrl
    payment_orders: Annotated[RequestedOrders, Field(json_schema_extra={"minItems": 1, "maxItems": 1})]
    deadline: Instant | None = None
    capture: Capture | None = None
    description: Description | None = None
    metadata: Metadata = {}

    @model_validator(mode="after")
    def _is_one_order(self) -> Self:
        _check_orders(self.payment_orders)
        _check_hosted(self.payment_orders)
        return self

    def payment(self) -> PaymentRequest:
        """The same as a request for a payment."""
        asked = dict(self)
        method = PaymentMethod(type="hosted", return_url=asked.pop("return_url"))
        return PaymentRequest(payment_method=method, **asked)


def _check_orders(orders: tuple[RequestedOrder, ...]) -> None:
    """Errors: ValidationError that names the field at fault."""
    if not orders:
        raise broken_field("payment_orders", "no_orders", "a checkout has at least one order")
    seen: set[str] = set()
    for index, order in enumerate(orders):
        if order.payment_order_id in seen:
            loc = ("payment_orders", index, "payment_order_id")
            raise broken_field(loc, "repeated_order_id", "each order of a checkout has an id of its own")
        seen.add(order.payment_order_id)


def _check_hosted(orders: tuple[RequestedOrder, ...]) -> None:
    """One page takes one payment, and a payment at a PSP is one order here. Errors: ValidationError."""
    if len(orders) > 1:
        raise broken_field("payment_orders", "hosted_one_order", "a hosted page is for a checkout of one order")


class _AmountRequest(RequestPart):
    """A part of an order's money, in the order's currency."""

    amount: str
    currency: str

    @property
    def gross(self) -> Money:
        return Money.parse(self.amount, self.currency)

    @model_validator(mode="after")
    def _is_money(self) -> Self:
        positive_amount(self.amount, self.currency)
        return self


class CaptureRequest(_AmountRequest):
    """Take this much of what is authorised. `final`: what is left is given up."""

    capture_id: NewOperationId
    payment_order_id: PaymentOrderId
    final: bool = False


class VoidRequest(RequestPart):
    """Give up what is authorised and not captured."""

    void_id: NewOperationId
    payment_order_id: PaymentOrderId


class RefundRequest(_AmountRequest):
    """Give this much back to the buyer."""

    refund_id: NewOperationId
    payment_order_id: PaymentOrderId
    reason: Annotated[str, FreeText(200)] | None = None


def positive_amount(amount: str, currency: str) -> Money:
    """Errors: ValidationError that names the field at fault."""
    money = amount_at("amount", amount, currency)
    if money.minor <= 0:
        raise broken_field("amount", "not_positive", "the amount must be more than zero")
    return money


def known_currency(currency: str, field: str = "currency") -> None:
    """Errors: ValidationError that names the field."""
    try:
        exponent(currency)
    except InvalidMoney as error:
        raise broken_field(field, error.code, str(error)) from None


def amount_at(field: str, amount: str, currency: str) -> Money:
    """Errors: ValidationError that names the field at fault."""
    try:
        return Money.parse(amount, currency)
    except InvalidMoney as error:
        if error.code == "negative_amount" and field == "amount":
            raise broken_field("amount", "not_positive", "the amount must be more than zero") from None
        raise broken_field("currency" if error.code == "unknown_currency" else field, error.code, str(error)) from None


def broken_field(loc: str | tuple[str | int, ...], code: str, detail: str) -> ValidationError:
    """An error of a model validator that names the field at fault."""
    at = loc if isinstance(loc, tuple) else (loc,)
    error = PydanticCustomError(code, "{why}", {"why": detail})
    return ValidationError.from_exception_data(
        "request", [InitErrorDetails(type=error, loc=at, input=None)], hide_input=True
    )


# ── what was wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class FieldError:
    """`field` is where ("payment_orders[0].amount", "" for the whole); `code` is stable; neither repeats the input."""

    field: str
    code: str
    detail: str


_OURS = {
    "extra_forbidden": ("unknown_field", "there is no such field"),
    "missing": ("missing_field", "this field is required"),
}
_PYDANTIC_S = frozenset(get_args(ErrorType))  # codes for which _OURS has no name
_TOO_LONG = {
    "payment_orders": ("too_many_orders", f"a checkout has at most {ORDERS_MAX} orders"),
    "metadata": ("too_much_metadata", f"metadata has at most {METADATA_MAX} entries"),
}


def field_errors(error: ValidationError, body: bytes = b"") -> list[FieldError]:
    """pydantic's errors as FieldErrors with our codes and texts. With the `body` invalid Unicode is reported, too."""
    if error.error_count() > ERRORS_MAX:  # each costs microseconds: the errors of a hostile body took seconds
        return [FieldError("", "too_many_errors", f"more than {ERRORS_MAX} things are wrong with this")]
    lines = error.errors(include_url=False, include_context=False, include_input=False)
    if lines[0]["type"] == "json_invalid":
        return [_unreadable(body)]
    return [FieldError(_path(line["loc"]), *_named(line["type"], line["loc"], line["msg"])) for line in lines]


def _unreadable(body: bytes) -> FieldError:
    """Why a body is no JSON for us. Other parsers may accept lone surrogates."""
    try:
        at = _not_unicode(json.loads(body.decode("utf-8", "surrogateescape")), ())
    except (ValueError, RecursionError):
        at = None
    if at is None:
        return FieldError("", "invalid_json", "the body is not JSON in UTF-8, or nested too deep")
    return FieldError(_path(at), "invalid_text", "lone surrogates and broken UTF-8 are no text")


class _Repeated(Exception):
    """A name is repeated in one object."""


def repeated_field(body: bytes) -> FieldError | None:
    """The first name that is repeated in one object, or None. pydantic takes the last value, a proxy or signer perhaps the
    first, and the charged amount must not depend on the parser.

    A body that serialises to the same bytes has no repeated name: a check at a tenth of the cost that covers most bodies.
    """
    if to_json(from_json(body)) == body:
        return None
    try:
        json.loads(body, object_pairs_hook=_each_once, parse_int=bool, parse_float=bool)
    except _Repeated as repeated:
        return FieldError(shown(str(repeated)), "repeated_field", "this field stands twice in one object")
    return None


def _each_once(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _Repeated(name)
        seen.add(name)


def _not_unicode(value: object, at: tuple[int | str, ...]) -> tuple[int | str, ...] | None:
    """The path of the first text that is no valid Unicode."""
    match value:
        case str():
            return at if any("\ud800" <= character <= "\udfff" for character in value) else None
        case dict():
            inner = [(part, at) for part in value] + [(held, (*at, part)) for part, held in value.items()]
        case list():
            inner = [(held, (*at, part)) for part, held in enumerate(value)]
        case _:
            return None
    found = (_not_unicode(held, within) for held, within in inner)
    return next((where for where in found if where is not None), None)


def _named(kind: str, loc: tuple[int | str, ...], message: str) -> tuple[str, str]:
    if kind in _OURS:
        return _OURS[kind]
    if kind == "value_error":  # our text follows pydantic's prefix
        return "invalid_parameter", message.removeprefix("Value error, ")
    if kind == "too_long":
        return _TOO_LONG.get(str(loc[0]), ("invalid_parameter", message))
    if kind.endswith(("_type", "_parsing", "_instance")):
        return "wrong_type", message
    return ("invalid_parameter" if kind in _PYDANTIC_S else kind), message


def _path(loc: tuple[int | str, ...]) -> str:
    """("payment_orders", 0, "amount") → payment_orders[0].amount, without names that must not be shown."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{shown(part)}" if path else shown(part)
    return path


def shown(name: str) -> str:
    """A caller's field name, shortened; `…` if it may be a card number."""
    printable = name.encode("utf-8", "replace").decode()
    return "…" if looks_like_card_number(printable) else printable[:64]


# ── the same again? ──────────────────────────────────────────────────────────────────────────────────────────────────


def contents(request: PaymentRequest) -> dict[str, str]:
    """Field → its canonical text. Two requests are the same if and only if their contents are equal.

    The order of orders and metadata, an explicit fee of zero and a time's offset make no difference.
    """
    return dict(_contents(request))


def _contents(request: PaymentRequest) -> Iterator[tuple[str, str]]:
    buyer = request.buyer_info
    optional: tuple[tuple[str, str | None], ...] = (
        ("payment_method.token", request.payment_method.token),
        ("payment_method.return_url", request.payment_method.return_url),
        ("buyer_info.name", buyer.name),
        ("buyer_info.email", buyer.email),
        ("buyer_info.country", buyer.country),
        ("description", request.description),
        ("deadline", request.deadline.isoformat() if request.deadline else None),
        ("capture", None if request.capture == "automatic" else request.capture),
    )
    yield "checkout_id", request.checkout_id
    yield "buyer_info.buyer_account", buyer.buyer_account
    yield from ((name, text) for name, text in optional if text is not None)
    yield from ((f"metadata.{name}", text) for name, text in request.metadata.items())
    for order in request.payment_orders:
        at = f"payment_orders[{order.payment_order_id}]"
        yield f"{at}.seller_account", order.seller_account
        yield f"{at}.amount", order.amount
        yield f"{at}.currency", order.currency
        if order.platform_fee is not None and order.fee.minor:
            yield f"{at}.platform_fee", order.platform_fee


def differences(a: PaymentRequest, b: PaymentRequest) -> list[str]:
    """The names of the fields in which two requests differ."""
    left, right = contents(a), contents(b)
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
