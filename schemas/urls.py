"""A URL that a caller names → the reason why it is refused, if there is one. For webhook endpoints and return URLs."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.text import refuse_card_number

URL_LENGTH_MAX = 2000
# No top-level domain starts with a digit: such a host is another spelling of an IPv4 address.
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?\Z"
)
_PRINTABLE = re.compile(r"[!-~]+\Z")


def url_fault(url: str, http_allowed: bool, fragment_allowed: bool = False) -> str | None:
    """Why this is no absolute URL of a web page without user and password."""
    parts = _split(url)
    if isinstance(parts, str):
        return parts
    if parts.scheme not in (("https", "http") if http_allowed else ("https",)):
        return "the scheme must be https" + (" or http" if http_allowed else "")
    if parts.username is not None or parts.password is not None or parts.port == 0:
        return "no user, password or port 0"
    if parts.fragment and not fragment_allowed:
        return "no fragment"
    host = parts.hostname or ""
    return None if parse_address(host) or _HOST.match(host) else "not a host name"


def _split(url: str) -> SplitResult | str:
    """The URL's parts, or why it has none."""
    if len(url) > URL_LENGTH_MAX or not _PRINTABLE.match(url) or "\\" in url:
        return f"at most {URL_LENGTH_MAX} printable ASCII characters without spaces and backslashes"
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError:
        return "not a URL"
    return parts


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_plain_http(url: str) -> bool:
    """Whether the URL, which has no fault, goes without TLS."""
    return url[:5].lower() == "http:"


def _is_loopback(host: str) -> bool:
    address = parse_address(host)
    return host == "localhost" if address is None else address.is_loopback


def page_fault(url: str, fragment_allowed: bool) -> str | None:
    """Why a buyer's browser must not be sent to this URL: only https goes, and plain http to the browser's own machine."""
    fault = url_fault(url, True, fragment_allowed)
    if fault is None and is_plain_http(url) and not _is_loopback(urlsplit(url).hostname or ""):
        return "the scheme must be https"
    return fault


def _return_url(url: str) -> str:
    fault = page_fault(url, fragment_allowed=False)
    if fault is not None:
        raise PydanticCustomError("invalid_url", "{why}", {"why": fault})
    return url


# Where a PSP's page sends the buyer back to. Plain http is for loopback alone, where an installation allows it at all.
ReturnUrl = Annotated[
    str,
    AfterValidator(_return_url),
    AfterValidator(refuse_card_number),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://[!-~]+$", "maxLength": URL_LENGTH_MAX}),
]
