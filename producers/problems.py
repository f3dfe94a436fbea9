"""Errors of the HTTP API → RFC 9457 problem documents, each with a stable code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import orjson

from schemas.requests import FieldError

ERRORS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Code:
    """An error code: one line of the page of codes."""

    status: int
    title: str
    meaning: str


CODES: Mapping[str, Code] = {
    # ── the request as a whole ──
    "invalid_request": Code(400, "Not HTTP", "What came over the connection is not a request of HTTP/1.1."),
    "invalid_json": Code(400, "Not JSON", "The body is not JSON in UTF-8, or nested too deep."),
    "repeated_header": Code(
        400, "Repeated header", "Authorization, Idempotency-Key or Content-Type stands twice, and readers may differ."
    ),
    "invalid_idempotency_key": Code(400, "Invalid Idempotency-Key", "1 to 255 printable ASCII characters."),
    "invalid_parameter": Code(
        400,
        "Invalid parameter",
        "A query parameter, or a field of an operator's request, is unknown, missing or malformed.",
    ),
    "invalid_cursor": Code(400, "Invalid cursor", "The cursor did not come from an earlier page of this list."),
    "unauthorised": Code(401, "No valid API key", "Send `Authorization: Bearer <key>`; the key is unknown or revoked."),
    "invalid_signature": Code(
        401, "Invalid signature", "Not signed with an active secret, or signed more than five minutes ago or ahead."
    ),
    "forbidden": Code(403, "Scope missing", "The API key lacks the scope that this needs."),
    "not_found": Code(404, "Not found", "There is no such thing, or it belongs to another owner."),
    "method_not_allowed": Code(405, "Method not allowed", "This address does not take that method."),
    "request_timeout": Code(408, "Request too slow", "A request comes whole, its body included, within 30 s."),
    "body_too_large": Code(413, "Body too large", "A body has at most 256 KiB."),
    "unsupported_media_type": Code(415, "Not application/json", "Send `Content-Type: application/json`."),
    "head_too_large": Code(431, "Head too large", "A request's line and headers have at most 64 KiB."),
    # ── ids that are taken ──
    "id_taken": Code(409, "Id taken", "The id belongs to another checkout or owner. Choose another."),
    "checkout_conflict": Code(
        422, "Same checkout, other contents", "This checkout_id was accepted with other contents; `errors` names them."
    ),
    "idempotency_key_reused": Code(
        422, "Idempotency-Key reused", "This key was used for another checkout. Use a new key for each checkout."
    ),
    "contents_conflict": Code(
        422,
        "Same id, other contents",
        "This capture, void, refund or pay-out was accepted with other contents; `errors` names them.",
    ),
    # ── captures, voids, refunds ──
    "wrong_currency": Code(422, "Wrong currency", "Captures and refunds are in the currency of their order."),
    "not_authorised": Code(
        422,
        "Nothing authorised",
        "Nothing of the order can be captured or given up: failed, not authorised yet, or captured.",
    ),
    "exceeds_authorised": Code(422, "More than authorised", "More than is authorised and not captured."),
    "nothing_to_void": Code(422, "Nothing to void", "All of the order is captured, or was given up."),
    "not_captured": Code(422, "Nothing captured", "Nothing of the order was captured."),
    "exceeds_refundable": Code(
        422, "More than refundable", "More than was captured and neither went back nor is on its way."
    ),
    "order_disputed": Code(422, "Order disputed", "What is left of the order is disputed: the buyer's bank has it."),
    # ── files of banks ──
    "invalid_xml": Code(422, "No status report", "Not a pain.002 that can be read wholly: nothing of it counts."),
    "unknown_file": Code(422, "Unknown file", "The report is about a file that we have not made."),
    "wrong_provider": Code(422, "Wrong bank", "The report is about a file that went to another bank."),
    # ── webhook endpoints ──
    "last_secret": Code(
        409, "Last secret", "An endpoint has at least one secret. Make a new one before this is retired."
    ),
    "too_many_endpoints": Code(409, "Too many endpoints", "An owner has at most 50 endpoints. Delete one first."),
    "too_many_secrets": Code(409, "Too many secrets", "An endpoint has at most 5 secrets at a time. Retire one first."),
    # ── sellers ──
    "invalid_percent": Code(
        422, "Invalid percent", 'A decimal number as a string, 0 to 100, at most two decimals: "2.9".'
    ),
    "invalid_days": Code(
        422, "Invalid number of days", "A whole number of days: hold days up to 180, a reserve up to 365."
    ),
    "invalid_state": Code(422, "Invalid state", "`active`, `frozen` or `closed`."),
    "invalid_fee_rule": Code(
        422, "Invalid fee rule", "`none`, `proportional` or `full`; of a dispute fee `seller` or `platform`."
    ),
    "repeated_currency": Code(
        422, "Repeated currency", "A fee plan has one fixed amount for each currency, a seller one schedule."
    ),
    "invalid_destination": Code(
        422, "Invalid destination", "`iban`, `us_account` or `provider_account`, with the fields of that type."
    ),
    "invalid_iban": Code(422, "Invalid IBAN", "Wrong characters, length or check digits (ISO 13616)."),
    "invalid_bic": Code(422, "Invalid BIC", "8 or 11 capital letters and digits (ISO 9362)."),
    "invalid_routing_number": Code(422, "Invalid routing number", "Nine digits, the last of which checks the others."),
    "invalid_account_number": Code(422, "Invalid account number", "Not as accounts of this type are numbered."),
    "invalid_holder": Code(
        422,
        "Invalid holder",
        "A name of at most 70 characters once it is written in the letters of SEPA payments, without control characters.",
    ),
    "invalid_address": Code(
        422,
        "Invalid address",
        "A part of an address that banks cannot be told: town 35, street 70, building and postal code 16 letters.",
    ),
    "address_required": Code(422, "Address required", "A destination outside the EEA needs the address of its holder."),
    "blocked_country": Code(422, "Blocked country", "Nothing is paid out to accounts of this country."),
    "invalid_schedule": Code(
        422,
        "Invalid schedule",
        "Every day, week (`weekday` 1 to 7) or month (`day` 1 to 28, or -1), at 00:00 to 23:59 UTC.",
    ),
    # ── pay-outs ──
    "unknown_seller": Code(404, "Unknown seller", "There is no such seller, or it belongs to another owner."),
    "seller_closed": Code(422, "Seller closed", "Nothing is paid out to a closed seller."),
    "no_destination": Code(422, "No destination", "The seller has no destination yet."),
    "no_rate": Code(422, "No rate", "`TALLY_FX` has no rate from the one currency to the other."),
    "amount_too_small": Code(
        422, "Amount too small", "Less than the smallest unit of the other currency would be sent."
    ),
    "no_provider": Code(422, "No provider", "No provider of pay-outs is set up for this destination."),
    "below_minimum": Code(422, "Below the minimum", "So little is not paid out: `TALLY_PAYOUTS` says from when on."),
    "insufficient_funds": Code(422, "Insufficient funds", "More than the seller's wallet has available."),
    "too_late": Code(409, "Too late", "The pay-out has ended, and is not cancelled any more; `detail` says how."),
    "same_person": Code(
        403, "Same person", "Who proposed it, asked for it, or set where a pay-out goes, does not approve it."
    ),
    "approval_stale": Code(
        409, "Approval stale", "`sha256` is not that of the pay-out or report as it is now. Look at it again."
    ),
    # ── settlement files ──
    "unknown_source": Code(
        404, "Unknown source", "No account of that name is set up: `TALLY_SETTLEMENT_SOURCES` has them."
    ),
    "file_too_large": Code(
        413,
        "File too large",
        "A file has at most 2 GiB, packed and unpacked, and unpacks to at most 200 times its packed size.",
    ),
    "wrong_encoding": Code(
        415, "Wrong encoding", "The body is the file as it is, or packed by gzip, once, with `Content-Encoding: gzip`."
    ),
    "empty_file": Code(422, "Empty file", "A file has at least one byte."),
    "archive": Code(422, "Archive", "An archive, or packed twice. Send the files in it, each by itself."),
    "broken_gzip": Code(422, "Broken gzip", "What came is no gzip, or is damaged."),
    # ── operators ──
    "refused": Code(409, "Refused", "An operator's act that cannot be done as things stand; `detail` says why."),
    "not_waiting": Code(409, "Not waiting", "It was decided by another one, or waits for nobody; `detail` says more."),
    # ── fields ──
    "unknown_field": Code(422, "Unknown field", "There is no field of that name."),
    "repeated_field": Code(422, "Repeated field", "A field stands twice in one object."),
    "too_many_errors": Code(
        422, "Too many errors", "More than 1,000 things are wrong with the body; they are not named."
    ),
    "missing_field": Code(422, "Missing field", "The field is required."),
    "wrong_type": Code(422, "Wrong type", "Amounts are strings, lists are lists; nothing is converted."),
    "invalid_id": Code(
        422, "Invalid id", "1 to 64 letters, digits or any of `. _ ~ -`; not `.` and `..`, which paths lose."
    ),
    "reserved_id": Code(
        422, "Reserved id", "An id must not begin with `auto~`: captures and pay-outs that nobody asks for have such."
    ),
    "invalid_capture": Code(422, "Invalid capture", "`automatic` or `manual`."),
    "invalid_token": Code(422, "Invalid token", "1 to 128 printable ASCII characters without spaces."),
    "invalid_text": Code(
        422, "Invalid text", "Too long, blank, or holding NUL, lone surrogates or broken UTF-8; `detail` says how long."
    ),
    "invalid_email": Code(422, "Invalid e-mail", "An e-mail address of at most 254 characters."),
    "invalid_url": Code(
        422, "Invalid URL", "An https URL without user, password and fragment; an endpoint's not of a private address."
    ),
    "no_event_types": Code(422, "No event types", "At least one of the event types; left out: all of them."),
    "unknown_event": Code(422, "Unknown event", "There is no event type of that name."),
    "invalid_country": Code(422, "Invalid country", "Two capital letters of ISO 3166-1."),
    "invalid_time": Code(
        422,
        "Invalid time",
        'A time as in RFC 3339, with its offset, or to choose by a day: "2026-01-31T12:00:00Z", "2026-01-31".',
    ),
    "invalid_amount": Code(422, "Invalid amount", 'A plain decimal number such as "12.34", as a string.'),
    "wrong_decimals": Code(422, "Wrong decimals", "The amount must have exactly the decimals of its currency."),
    "amount_too_large": Code(422, "Amount too large", "An amount has at most 15 digits."),
    "not_positive": Code(422, "Amount not positive", "The amount must be more than zero."),
    "negative_amount": Code(422, "Negative amount", "The fee must not be negative."),
    "fee_above_amount": Code(422, "Fee above amount", "The fee must not be more than the amount."),
    "unknown_currency": Code(422, "Unknown currency", "Not a currency of ISO 4217 that can be charged."),
    "no_orders": Code(422, "No orders", "A checkout has at least one order."),
    "too_many_orders": Code(422, "Too many orders", "A checkout has at most 100 orders."),
    "hosted_one_order": Code(422, "One order", "A hosted page is for a checkout of one order."),
    "repeated_order_id": Code(422, "Repeated order id", "Each order of a checkout has an id of its own."),
    "too_much_metadata": Code(422, "Too much metadata", "Metadata has at most 20 entries."),
    "card_number": Code(422, "Card number", "A text looks like a card number. Send a token, never card data."),
    # ── us ──
    "internal": Code(
        500, "Our fault", "A bug. Nothing is known to have been done; the same request may be sent again."
    ),
    "unavailable": Code(503, "Not available now", "The store cannot be reached. Send the same request again later."),
    "too_slow": Code(
        503, "Took too long", "The answer takes longer than 5 s to find. Ask for less: a shorter time, say."
    ),
    "held_by_operator": Code(
        409,
        "Held by an operator",
        "An operator has frozen or closed this seller: only operators change its state again.",
    ),
    "not_in_force": Code(
        503,
        "Not in force yet",
        "The seller was changed a moment ago, and payouts has not heard of it. Send the same again.",
    ),
    "busy": Code(503, "Too busy now", "More requests wait than can be taken. Send the same request again later."),
}


class Problem(Exception):
    """An error that is answered to the caller. Nothing was stored."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        errors: Sequence[FieldError] = (),
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(code, detail)
        self.code = code if code in CODES else "internal"
        self.detail = detail or CODES[self.code].meaning
        self.errors = errors
        self.headers = headers

    @property
    def status(self) -> int:
        return CODES[self.code].status

    def body(self) -> bytes:
        """The problem document (RFC 9457). `field` is the first field at fault, `errors` names up to 20 fields."""
        document: dict[str, object] = {
            "type": f"/errors#{self.code}",
            "title": CODES[self.code].title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            document["field"] = self.errors[0].field
            document["errors"] = [
                {"field": error.field, "code": error.code, "detail": error.detail}
                for error in self.errors[:ERRORS_SHOWN]
            ]
        return orjson.dumps(document)

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"content-type", b"application/problem+json"), *self.headers]


def broken(errors: Sequence[FieldError]) -> Problem:
    """The Problem of an invalid body: the first error gives code and status."""
    first = errors[0]
    code = first.code if first.code in CODES else "invalid_parameter"
    return Problem(code, f"{first.field}: {first.detail}" if first.field else first.detail, errors)


RETRY_SOON = ((b"retry-after", b"1"),)


def page() -> str:
    """The page behind every problem's `type`."""
    rows = "".join(
        f'<tr id="{name}"><td><code>{name}</code><td>{code.status}<td>{escape(code.title)}<td>{escape(code.meaning)}\n'
        for name, code in CODES.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Tallystick: error codes</title>'
        "<style>body{font:16px system-ui;margin:2em auto;max-width:60em}td,th{padding:.3em .8em;text-align:left;"
        "border-bottom:1px solid #ddd}:target{background:#ffd}</style>"
        "<h1>Error codes</h1><p>Every error is a problem document (RFC 9457). Its <code>code</code> never changes its "
        f"meaning.<table><tr><th>code<th>status<th>title<th>meaning\n{rows}</table></html>"
    )


def table() -> str:
    """The page's table for docs/http-api.md."""
    rows = [f"| `{name}` | {code.status} | {code.meaning} |" for name, code in CODES.items()]
    return "\n".join(["| code | status | meaning |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())
