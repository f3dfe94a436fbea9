"""A webhook's body and the endpoint's keys → its signature, and back (Standard Webhooks 1.0)."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence

TOLERANCE_S = 300
_PREFIX = "whsec_"


def secret_text(key: bytes) -> str:
    """A signing key as its owner gets it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(key).decode()


def secret_key(secret: str) -> bytes:
    """Errors: ValueError if the secret is not base64 after an optional `whsec_`."""
    return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)


def sign(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each active key, separated by spaces."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digests = (hmac.digest(key, signed, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: int) -> str | None:
    """Why a received webhook is not authentic; None if one signature fits. Header names are in lower case."""
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not re.fullmatch(r"[0-9]{1,12}", stamp):
        return "webhook-id or webhook-timestamp is missing"
    if abs(now - int(stamp)) > TOLERANCE_S:
        return f"webhook-timestamp is more than {TOLERANCE_S} s away"
    given = [part.encode() for part in headers.get("webhook-signature", "").split(" ")]
    wanted = [part.encode() for part in sign(keys, message_id, int(stamp), body).split(" ")]
    fits = [hmac.compare_digest(one, other) for one in given for other in wanted]
    return None if any(fits) else "no signature fits"
