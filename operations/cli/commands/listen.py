"""`tally listen`: a receiver of webhooks on this machine, which verifies signatures and prints events."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any
from urllib.parse import quote

import typer

from operations.cli.commands.pay import Api, running_api
from operations.cli.terminal import note, say, say_json

app = typer.Typer()

BODY_MAX = 1 << 20
LEASE_S = 90  # of our endpoint: if we are killed and cannot delete it, it lasts no longer
RENEW_EVERY_S = 20.0
STALL_S = 10.0  # a stalled sender is disconnected after this


@app.command()
def listen(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen on loopback; 0: a free one")
    ] = 0,
    endpoint_id: Annotated[
        str | None, typer.Option("--endpoint", help="The id to register as; else one of our own, deleted at the end")
    ] = None,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="Register nothing: verify with this whsec_… (several allowed)")
    ] = None,
    event_types: Annotated[list[str] | None, typer.Option("--type", help="Only these event types; else all")] = None,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many; 0: on Ctrl-C")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on stdout")] = False,
) -> None:
    """Print webhooks as they come: registers itself as an endpoint of this stack's demo owner, and verifies each.

    A webhook that does not verify is shown, answered 400 and not counted. Exits 1 where --secret or --type are wrong.
    """
    if secret and endpoint_id:
        raise typer.BadParameter("give either --endpoint or --secret")
    given = [_key(each) for each in secret or ()]
    server = _Server(port, as_json, count)
    registered = None
    for ends in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, signal.default_int_handler)  # as Ctrl-C does: deletes our endpoint, too
    try:
        if given:
            server.keys = given
        else:
            registered = _register(server, endpoint_id, event_types)
        note(f"listening at {server.url}{f' as {registered}' if registered else ''}")
        server.serve_forever(0.05)
        if server.ended_with:
            raise server.ended_with
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        if registered and endpoint_id is None:
            running_api().call("DELETE", f"/v1/webhook-endpoints/{registered}")


def _register(server: _Server, endpoint_id: str | None, event_types: list[str] | None) -> str:
    """Create our endpoint, or point an existing one to us: then with a new secret, since older ones are not shown again."""
    import secrets

    from topics.webhooks.signing import secret_key

    api = running_api()
    name = endpoint_id or f"listen-{secrets.token_hex(4)}"
    path = f"/v1/webhook-endpoints/{quote(name, safe='')}"
    body: dict[str, Any] = {"url": server.url} | ({"event_types": event_types} if event_types else {})
    if endpoint_id is None:
        body |= {"lease_s": LEASE_S}
        server.renew = lambda: _renew(server, api, path, body)
    made = api.call("PUT", path, body)
    if made["secret"] is None:
        made = api.call("POST", f"{path}/secrets")
        for version in made["secret_versions"][:-1]:
            api.call("DELETE", f"{path}/secrets/{version}")
    server.keys = [secret_key(made["secret"])]
    return name


def _renew(server: _Server, api: Api, path: str, body: dict[str, Any]) -> None:
    """Renew our endpoint's lease. If it has expired (this machine slept), the endpoint is created again, with another secret."""
    from topics.webhooks.signing import secret_key

    try:
        made = api.call("PUT", path, body)
    except (ConnectionError, TimeoutError, typer.Exit):
        return  # it is tried again soon
    if made["secret"]:
        server.keys.append(secret_key(made["secret"]))


def _key(secret: str) -> bytes:
    from topics.webhooks.signing import secret_key

    try:
        key = secret_key(secret)
    except ValueError:
        key = b""
    if not key:
        raise typer.BadParameter("--secret is whsec_ and base64")
    return key


class _Server(ThreadingHTTPServer):
    """Answers 200 to what verifies, 400 to all else."""

    daemon_threads = False  # so that the last reply is sent before we end

    def __init__(self, port: int, as_json: bool, count: int) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            note(f"tally: cannot listen on 127.0.0.1:{port}: {error.strerror}")
            raise typer.Exit(1) from None
        self.keys: list[bytes] = []
        self.ended_with: SystemExit | None = None
        self.renew: Callable[[], None] = lambda: None
        self._renew_at = time.monotonic() + RENEW_EVERY_S
        self._as_json = as_json
        self._left = count or -1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def service_actions(self) -> None:
        """Between requests."""
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW_EVERY_S
            self.renew()

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """→ the status to answer with."""
        from topics.webhooks.signing import verify

        fault = verify(self.keys, headers, body, int(time.time()))
        try:
            self._show(headers, body, fault)
        except SystemExit as end:  # stdout is closed; this is a handler's thread
            self.ended_with = end
            self.shutdown()
            return 503
        if fault:
            return 400
        self._left -= 1
        if self._left == 0:
            self.shutdown()
        return 200

    def _show(self, headers: Mapping[str, str], body: bytes, fault: str | None) -> None:
        text = body.decode("utf-8", "replace")
        if self._as_json:
            line = {"webhook_id": headers.get("webhook-id"), "verified": fault is None, "fault": fault, "body": text}
            say_json(line, indent=None)
        elif fault:
            say(f"NOT VERIFIED ({fault}): {text[:200]}")
        else:
            event = json.loads(text)
            say(f"{event['timestamp']}  {event['type']:24}  {json.dumps(event['data'])}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = STALL_S

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > BODY_MAX:
            self.send_error(413 if length.isdigit() else 411)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.server.receive(headers, self.rfile.read(int(length)))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Not used: the server prints the webhooks."""
