"""Strict parsing of requests, problems and answers, for all wire formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum

import orjson

from simulator.http import Answer
from simulator.tokens import ON_PAGE

PAGE_MAX = 5000
AMOUNT_MAX = 2**63 - 1
_URL = re.compile(r"https?://[\x21-\x7e]{1,2000}")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,255}")


class Problem(Enum):
    """Why a PSP refuses a request."""

    UNAUTHORISED = "unauthorised"
    INVALID = "invalid"
    KEY_CONFLICT = "key_conflict"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    NOT_FOUND = "not_found"


class Refused(Exception):
    """A request that the PSP refuses before doing anything."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, orjson.dumps(body), headers or {})


def read_object(body: bytes, fields: frozenset[str], optional: frozenset[str] = frozenset()) -> dict[str, object]:
    """A JSON object with exactly these fields and any of the optional ones. Errors: Refused(INVALID)."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(Problem.INVALID, "the body is not JSON") from None
    return sub_object(value, "body", fields, optional)


def sub_object(
    value: object, name: str, fields: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Refused(Problem.INVALID, f"{name}: must be an object")
    if value.keys() - optional != fields:
        odd = sorted(map(str, (value.keys() - optional) ^ fields))[0]
        raise Refused(Problem.INVALID, f"{name}: {odd} is {'missing' if odd in fields else 'unknown'}")
    return value


def read_text(value: object, name: str) -> str:
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise Refused(Problem.INVALID, f"{name}: must be 1 to 255 printable ASCII characters")
    return value


def read_method(asked: Mapping[str, object], token: str, return_url: str) -> tuple[str, str]:
    """The charge's token and return URL, one of which a request has. Errors: Refused(INVALID)."""
    if (token in asked) == (return_url in asked):
        raise Refused(Problem.INVALID, f"{token} or {return_url}: one of them")
    if token in asked:
        return read_text(asked[token], token), ""
    url = asked[return_url]
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise Refused(Problem.INVALID, f"{return_url}: must be a URL")
    return ON_PAGE, url


def read_amount(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= AMOUNT_MAX:
        raise Refused(Problem.INVALID, f"{name}: must be a positive whole number of minor units")
    return value


def read_currency(code: str, exponents: Mapping[str, int]) -> str:
    if code not in exponents:
        raise Refused(Problem.INVALID, f"currency: {code} is not offered")
    return code


def read_limit(value: str | None, default: int = 100) -> int:
    if value is None:
        return default
    if not value.isascii() or not value.isdigit() or len(value) > 6 or not 1 <= int(value) <= PAGE_MAX:
        raise Refused(Problem.INVALID, f"the page size must be 1 to {PAGE_MAX}")
    return int(value)


def iso_time(microseconds: int) -> str:
    return (
        datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
