"""The PSPs' own HTTP listings → every charge that they say they made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from operations.http_client import HttpClient, NoAnswer
from psp.port import HttpRequest, ListedCharge, ListingError, Psp, Reference

TIMEOUT_S = 30.0


def listed(psp: Psp) -> Iterator[list[ListedCharge]]:
    """Page after page, over one connection. Errors: ListingError, also where the PSP does not answer."""
    first = psp.list("charge")
    with HttpClient(first.url, TIMEOUT_S) as asking:
        request: HttpRequest | None = first
        while request is not None:
            charges, cursor = psp.read_list("charge", _body(psp.name, asking, request))
            yield charges
            request = psp.list("charge", cursor) if cursor else None


def found(psps: Mapping[str, Psp], references: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[ListedCharge]]]:
    """For each (PSP, reference) what it says now. A look-up's answer has the shape of a listing."""
    for name, reference in references:
        psp = psps.get(name)
        if psp is not None:
            request = psp.find(Reference("charge", reference))
            with HttpClient(request.url, TIMEOUT_S) as asking:
                yield name, psp.read_list("charge", _body(name, asking, request)).entries


def _body(name: str, asking: HttpClient, request: HttpRequest) -> bytes:
    try:
        answer = asking.request(request.method, request.url, None, dict(request.headers))
    except NoAnswer as error:
        raise ListingError(f"{name} does not answer: {error}") from error
    if answer.status != 200:
        raise ListingError(f"{name} answered {answer.status}")
    return answer.body
