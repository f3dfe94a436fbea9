"""What Faust's client is told of a broker, and what of its log lines passes."""

from __future__ import annotations

import logging
import ssl

import pytest
from faust import SASLCredentials, SSLCredentials

from operations.stack import logs
from operations.stack.logs import Repeats
from reconciliation.credentials import credentials
from topics.settings import SettingsError

SCRAM = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "tally", "sasl.password": "of a test"}


def test_without_security_options_no_credentials_are_sent() -> None:
    assert credentials({}) is None
    assert credentials({"security.protocol": "PLAINTEXT", "socket.keepalive.enable": "true"}) is None


def test_a_login_is_the_same_for_both_clients() -> None:
    found = credentials(SCRAM | {"security.protocol": "SASL_SSL"})
    assert isinstance(found, SASLCredentials)
    assert (found.protocol.value, found.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (found.username, found.password) == ("tally", "of a test")
    assert found.ssl_context is not None
    assert found.ssl_context.verify_mode is ssl.CERT_REQUIRED
    plain = credentials(SCRAM | {"security.protocol": "sasl_plaintext"})
    assert isinstance(plain, SASLCredentials)
    assert plain.ssl_context is None


def test_a_certificate_is_verified_unless_told_otherwise() -> None:
    found = credentials({"security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "none"})
    assert isinstance(found, SSLCredentials)
    assert not found.context.check_hostname
    assert found.context.verify_mode is ssl.CERT_REQUIRED
    found = credentials({"security.protocol": "ssl", "enable.ssl.certificate.verification": "false"})
    assert isinstance(found, SSLCredentials)
    assert found.context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism"),
        ({"security.protocol": "quic"}, "quic"),
        ({"sasl.oauthbearer.config": "x"}, "sasl.oauthbearer.config"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}, "certificate"),
    ],
)
def test_what_only_the_other_client_can_do_is_refused_by_name(options: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"TALLY_KAFKA_OPTIONS: .*{named}"):
        credentials(options)


def test_the_same_line_passes_once_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    repeats = Repeats()

    def passes(text: str, name: str = "aiokafka") -> bool:
        return repeats.filter(logging.LogRecord(name, logging.ERROR, "", 0, text, ("node 1",), None))

    assert passes("cannot connect: %s")
    assert not passes("cannot connect: %s")
    assert passes("cannot connect to the coordinator: %s")
    assert passes("cannot connect: %s", "faust")
    now[0] += 11
    assert passes("cannot connect: %s")
