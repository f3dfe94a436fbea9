"""The PSPs' and providers' listings by HTTP → all their charges, operations, disputes and transfers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from operations.http_client import HttpClient, NoAnswer
from psp.payout_port import ListedTransfer, PayoutProvider, TransferReference
from psp.port import (
    HttpRequest,
    Kind,
    Listed,
    ListedCharge,
    ListedDispute,
    ListedOperation,
    Listing,
    ListingError,
    OperationKind,
    Psp,
    Reference,
)

TIMEOUT_S = 30.0
L = TypeVar("L", bound=Listed)


def listed(psp: Psp) -> Iterator[list[ListedCharge]]:
    """A PSP's charges, page by page over one connection. Errors: ListingError, also if the PSP does not answer."""
    return _pages(psp, "charge", lambda body: psp.read_list("charge", body))


def listed_operations(psp: Psp, kind: OperationKind) -> Iterator[list[ListedOperation]]:
    """As `listed`."""
    return _pages(psp, kind, lambda body: psp.read_list(kind, body))


def listed_disputes(psp: Psp) -> Iterator[list[ListedDispute]]:
    """As `listed`."""
    return _pages(psp, "dispute", lambda body: psp.read_list("dispute", body))


def listed_transfers(provider: PayoutProvider) -> Iterator[list[ListedTransfer]]:
    """As `listed`, of a pay-out provider."""
    first = provider.list_transfers()
    with HttpClient(first.url, TIMEOUT_S) as asking:
        request: HttpRequest | None = first
        while request is not None:
            entries, cursor = provider.read_list(_body(provider.name, asking, request))
            yield entries
            request = provider.list_transfers(cursor) if cursor else None


def found_transfers(provider: PayoutProvider, asked: TransferReference) -> list[ListedTransfer]:
    """The transfers of that reference now. Errors: as `listed`."""
    request = provider.find(asked)
    with HttpClient(request.url, TIMEOUT_S) as asking:
        return provider.read_list(_body(provider.name, asking, request)).entries


def _pages(psp: Psp, kind: Kind, read: Callable[[bytes], Listing[L]]) -> Iterator[list[L]]:
    first = psp.list(kind)
    with HttpClient(first.url, TIMEOUT_S) as asking:
        request: HttpRequest | None = first
        while request is not None:
            entries, cursor = read(_body(psp.name, asking, request))
            yield entries
            request = psp.list(kind, cursor) if cursor else None


def found(psps: Mapping[str, Psp], references: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[ListedCharge]]]:
    """The charges of each (PSP, reference) now. The answer to a look-up has the format of a listing."""
    for name, reference in references:
        psp = psps.get(name)
        if psp is not None:
            request = psp.find(Reference("charge", reference))
            with HttpClient(request.url, TIMEOUT_S) as asking:
                yield name, psp.read_list("charge", _body(name, asking, request)).entries


def found_of(
    psps: Mapping[str, Psp], references: Iterable[tuple[str, Kind, str]]
) -> Iterator[tuple[str, Sequence[Listed]]]:
    """As `found`, for each (PSP, kind, reference)."""
    for name, kind, reference in references:
        psp = psps.get(name)
        if psp is not None:
            request = psp.find(Reference(kind, reference))
            with HttpClient(request.url, TIMEOUT_S) as asking:
                yield name, _read(psp, kind, _body(name, asking, request))


def _read(psp: Psp, kind: Kind, body: bytes) -> Sequence[Listed]:
    match kind:
        case "charge":
            return psp.read_list("charge", body).entries
        case "dispute":
            return psp.read_list("dispute", body).entries
        case _:
            return psp.read_list(kind, body).entries


def _body(name: str, asking: HttpClient, request: HttpRequest) -> bytes:
    """The answer to a request for a listing. Errors: ListingError."""
    try:
        answer = asking.request(request.method, request.url, None, dict(request.headers))
    except NoAnswer as error:
        raise ListingError(f"{name} does not answer: {error}") from error
    if answer.status != 200:
        raise ListingError(f"{name} answered {answer.status}")
    return answer.body
