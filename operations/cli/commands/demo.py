"""`tally demo`: steady traffic on the stack of this machine, as an upstream service that retries makes it."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from typing import Annotated

import typer

from operations.cli.commands.pay import Api, Refused, demo_request, new_id, running_api
from operations.cli.terminal import note, say

app = typer.Typer()

REPORT_EVERY_S = 5.0
CHECKED_MAX = 100  # payments read in one turn, the oldest first
WAIT_S = 120.0  # at the end, for unfinished payments


@app.command()
def demo(
    rate: Annotated[float, typer.Option(min=0.1, max=50, help="checkouts a second")] = 1.0,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="then end; else Ctrl-C does")] = None,
    orders: Annotated[int, typer.Option(min=1, max=20, help="of each checkout, at most")] = 3,
    declined: Annotated[float, typer.Option(min=0, max=1, help="share of buyers whose bank says no")] = 0.05,
) -> None:
    """Pay steadily, so that there is something to look at and to hurt. Requests that fail are retried.

    A line every five seconds. Exits 1 where after --minutes a payment is not done within two more.
    """
    traffic = Traffic(running_api(), orders, declined)
    note("Ctrl-C ends it; meanwhile `tally status`, `tally tail`, `tally stuck`, `tally trigger`, `tally sim faults`")
    try:
        traffic.flow(rate, minutes * 60 if minutes else None)
        if minutes:
            traffic.settle(WAIT_S)
    except KeyboardInterrupt:
        pass
    say(traffic.summary())
    if minutes and traffic.open:
        raise typer.Exit(1)


class Traffic:
    """Checkouts to request, unfinished payments, and counts of how the others ended."""

    def __init__(self, api: Api, orders: int, declined: float) -> None:
        self._api = api
        self._orders, self._declined = orders, declined
        self._unrequested: deque[str] = deque()
        self._waiting: deque[str] = deque()
        self._ended: Counter[str] = Counter()
        self._begun = 0
        self._trouble = ""

    @property
    def open(self) -> int:
        return len(self._unrequested) + len(self._waiting)

    def flow(self, rate: float, for_s: float | None) -> None:
        """Request by the clock, however long a reply takes: late requests are sent late, not left out."""
        started = reported_at = time.monotonic()
        while for_s is None or time.monotonic() - started < for_s:
            self._add_checkouts(int((time.monotonic() - started) * rate) + 1)
            self._request_all()
            if time.monotonic() - reported_at >= REPORT_EVERY_S:
                self._check_waiting()
                say(self.summary())
                reported_at = time.monotonic()
            time.sleep(min(1 / rate, 0.2))

    def settle(self, for_s: float) -> None:
        """Until all are done, or time is up."""
        end = time.monotonic() + for_s
        while self.open and time.monotonic() < end:
            self._request_all()
            self._check_waiting()
            time.sleep(0.2)

    def summary(self) -> str:
        ended = ", ".join(f"{number} {status}" for status, number in sorted(self._ended.items())) or "none ended"
        return f"asked for {self._begun - len(self._unrequested)}: {ended}, {len(self._waiting)} on their way"

    def _add_checkouts(self, up_to: int) -> None:
        while self._begun < up_to:
            self._unrequested.append(new_id())
            self._begun += 1

    def _request_all(self) -> None:
        while self._unrequested and self._request_payment(self._unrequested[0]):
            self._waiting.append(self._unrequested.popleft())

    def _request_payment(self, checkout_id: str) -> bool:
        """The same id gives the same request, so a retry after no answer is a replay."""
        chance = random.Random(checkout_id)
        token = "tok_declined_insufficient_funds" if chance.random() < self._declined else "tok_visa"
        request = demo_request(checkout_id, chance.randint(1, self._orders), token, "EUR")
        return self._call_api("POST", "/v1/payments", request) is not None

    def _check_waiting(self) -> None:
        for _ in range(min(len(self._waiting), CHECKED_MAX)):
            checkout_id = self._waiting.popleft()
            payment = self._call_api("GET", f"/v1/payments/{checkout_id}")
            if payment is None or not payment["is_payment_done"]:
                self._waiting.append(checkout_id)
            else:
                self._ended[str(payment["status"])] += 1
            if payment is None:
                return

    def _call_api(self, method: str, path: str, body: object = None) -> dict[str, object] | None:
        """None while the API does not answer; noted once, not each time."""
        try:
            answer = self._api.call(method, path, body)
        except (Refused, ConnectionError, TimeoutError) as error:
            if isinstance(error, Refused) and error.status < 500 and error.status != 429:
                raise
            if not self._trouble:
                note(f"asking again: {error}")
            self._trouble = str(error)
            return None
        self._trouble = ""
        return answer
