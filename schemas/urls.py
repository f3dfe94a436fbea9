"""URLs that a buyer's browser is sent to → the reason why one is refused, if there is one."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.text import refuse_card_number

URL_LENGTH_MAX = 2000
_NAME = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?"
_HOST = rf"{_NAME}|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}|\[[0-9A-Fa-f:.]{{2,45}}\]"
# No user, no password, no backslash, which browsers take for a slash.
_PAGE = re.compile(rf"(?P<scheme>(?i:https?))://(?P<host>{_HOST})(?::[1-9][0-9]{{0,4}})?(?P<rest>[/?#][!-\[\]-~]*)?")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")


def page_fault(url: str, fragment_allowed: bool = False) -> str | None:
    """Why a browser must not be sent to this URL: https goes, and plain http to the browser's own machine."""
    found = _PAGE.fullmatch(url)
    if found is None or len(url) > URL_LENGTH_MAX:
        return f"an https URL of at most {URL_LENGTH_MAX} printable ASCII characters, without user and password"
    if is_plain_http(url) and not _LOOPBACK.fullmatch(found["host"]):
        return "the scheme must be https"
    return "no fragment" if "#" in (found["rest"] or "") and not fragment_allowed else None


def is_plain_http(url: str) -> bool:
    """Whether the URL, which has no fault, goes without TLS."""
    return url[:5].lower() == "http:"


def _return_url(url: str) -> str:
    fault = page_fault(url)
    if fault is not None:
        raise PydanticCustomError("invalid_url", "{why}", {"why": fault})
    return url


# Where a PSP's page sends the buyer back to. Plain http goes only where an installation allows it.
ReturnUrl = Annotated[
    str,
    AfterValidator(_return_url),
    AfterValidator(refuse_card_number),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://[!-~]+$", "maxLength": URL_LENGTH_MAX}),
]
