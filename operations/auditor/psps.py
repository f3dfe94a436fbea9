"""The PSPs' own HTTP listings → every charge that they say they made."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

from psp.port import HttpRequest, ListedCharge, ListingError, Psp

TIMEOUT_S = 30.0


def listed(psp: Psp) -> Iterator[list[ListedCharge]]:
    """Page after page, over one connection. Errors: ListingError, also where the PSP does not answer."""
    first = psp.list_charges()
    with closing(_connection(first)) as connection:
        request: HttpRequest | None = first
        while request is not None:
            charges, cursor = psp.read_list(_body(psp.name, connection, request))
            yield charges
            request = psp.list_charges(cursor) if cursor else None


def found(psps: Mapping[str, Psp], references: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[ListedCharge]]]:
    """For each (PSP, reference) what it says now. A look-up's answer has the shape of a listing."""
    for name, reference in references:
        psp = psps.get(name)
        if psp is not None:
            request = psp.find(reference)
            with closing(_connection(request)) as connection:
                yield name, psp.read_list(_body(name, connection, request))[0]


def _connection(request: HttpRequest) -> http.client.HTTPConnection:
    url = urlsplit(request.url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.hostname or "", url.port, timeout=TIMEOUT_S)


def _body(name: str, connection: http.client.HTTPConnection, request: HttpRequest) -> bytes:
    url = urlsplit(request.url)
    try:
        connection.request(
            request.method, f"{url.path}?{url.query}" if url.query else url.path, None, dict(request.headers)
        )
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise ListingError(f"{name} does not answer: {error}") from error
    if reply.status != 200:
        raise ListingError(f"{name} answered {reply.status}")
    return body
