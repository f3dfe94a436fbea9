"""librdkafka's options for TLS and SASL → the same for aiokafka, so that one setting serves every process."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from faust import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from topics.settings import SettingsError

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_KNOWN = {
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
}


def credentials(options: Mapping[str, str]) -> CredentialsT | None:
    """→ None for a broker without either. Errors: SettingsError for what cannot be done here."""
    of_security = [name for name in options if name.startswith(("security.", "sasl.", "ssl."))]
    if unknown := next((name for name in of_security if name not in _KNOWN), None):
        raise _wrong(f"{unknown} is unknown to `tally run settlements`")
    protocol = options.get("security.protocol", "plaintext").lower()
    match protocol:
        case "plaintext":
            return None
        case "ssl":
            return SSLCredentials(_tls(options))
        case "sasl_plaintext":
            return _sasl(options, None)
        case "sasl_ssl":
            return _sasl(options, _tls(options))
        case _:
            raise _wrong(f"security.protocol {protocol!r}")


def _sasl(options: Mapping[str, str], tls: ssl.SSLContext | None) -> SASLCredentials:
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "")).upper()
    if mechanism not in _MECHANISMS:
        raise _wrong(f"`tally run settlements` knows as sasl.mechanism {', '.join(_MECHANISMS)}")
    return SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        ssl_context=tls,
        mechanism=mechanism,
    )


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
        if certificate := options.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, options.get("ssl.key.location"), options.get("ssl.key.password"))
    except (OSError, ssl.SSLError) as error:
        raise _wrong(f"a certificate cannot be read: {error}") from None
    verified = options.get("enable.ssl.certificate.verification", "true").lower() != "false"
    context.check_hostname = verified and options.get("ssl.endpoint.identification.algorithm", "https") != "none"
    if not verified:
        context.verify_mode = ssl.CERT_NONE
    return context


def _wrong(what: str) -> SettingsError:
    return SettingsError(f"TALLY_KAFKA_OPTIONS: {what}")
