"""An endpoint's URL, or an address of its host → the reason why it must not be called, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from schemas import urls
from schemas.urls import parse_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Addresses that embed an IPv4 address (NAT64, RFC 6052 and 8215): checked by the embedded one.
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")  # global unicast, as allocated by IANA


def url_fault(url: str, http_allowed: bool, allowed: Sequence[Network]) -> str | None:
    """Why this cannot be an endpoint's URL, if so. A host's addresses are checked again at each connection."""
    fault = urls.url_fault(url, http_allowed)
    literal = None if fault else parse_address(urlsplit(url).hostname or "")
    return address_fault(literal, allowed) if literal else fault


def address_fault(to: Address, allowed: Sequence[Network]) -> str | None:
    """Why this address must not be connected to, if so: only public Internet addresses may, and those that the settings allow."""
    if any(to in network for network in allowed):
        return None
    inner = _embedded_ipv4(to)
    if inner is not None:
        return address_fault(inner, allowed)
    if to.is_global and not to.is_multicast and (to.version == 4 or to in _UNICAST):
        return None
    return f"{to} is a private, local or reserved address"


def _embedded_ipv4(to: Address) -> Address | None:
    """The IPv4 address that an IPv6 address embeds."""
    if isinstance(to, IPv4Address):
        return None
    if to in _NAT64:
        return IPv4Address(int(to) & 0xFFFFFFFF)
    return to.ipv4_mapped or to.sixtofour or (to.teredo[1] if to.teredo else None)
