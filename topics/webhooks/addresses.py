"""An endpoint's URL, or an address of its host → the reason why it must not be called, if there is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

URL_LENGTH_MAX = 2000
# No top-level domain starts with a digit: such a host is another spelling of an IPv4 address.
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?\Z"
)
_PRINTABLE = re.compile(r"[!-~]+\Z")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Addresses that embed an IPv4 address (NAT64, RFC 6052 and 8215): checked by the embedded one.
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")  # global unicast, as allocated by IANA


def url_fault(url: str, http_allowed: bool, allowed: Sequence[Network]) -> str | None:
    """Why this cannot be an endpoint's URL, if so. A host's addresses are checked again at each connection."""
    if len(url) > URL_LENGTH_MAX or not _PRINTABLE.match(url) or "\\" in url:
        return f"at most {URL_LENGTH_MAX} printable ASCII characters without spaces and backslashes"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in (("https", "http") if http_allowed else ("https",)):
        return "the scheme must be https" + (" or http" if http_allowed else "")
    if parts.username is not None or parts.password is not None or parts.fragment or port == 0:
        return "no user, password, fragment or port 0"
    literal = parse_address(host)
    if literal is None and not _HOST.match(host):
        return "not a host name"
    return address_fault(literal, allowed) if literal else None


def parse_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


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
