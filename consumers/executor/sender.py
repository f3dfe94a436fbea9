"""due calls → leased → sent → replies on their rows → applied as messages of `calls` → executions published.

Three threads beside the room's loop: this one leases and sweeps, `PspClient` sends, `Recorder` records, applies and
publishes. The process may die at any line; docs/calls.md says what becomes of a call at each of them.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import psycopg
import structlog
from prometheus_client import Gauge

from consumers.executor import early
from consumers.executor.attempt import key_expired
from consumers.executor.client import PspClient, answer_of
from consumers.executor.counterparty import make_counterparties
from consumers.executor.ladder import KEY_MARGIN_S
from consumers.executor.pacing import Pace
from consumers.executor.recorder import Recorder
from psp.port import NothingHappened, Unknown
from topics.payout_accounts import PayoutProviderAccount
from topics.runtime.calls import rows as calls
from topics.runtime.calls.rows import LeasedCall
from topics.runtime.dead_letters.store import is_stopped
from topics.runtime.shape.clock import Clock
from topics.runtime.shape.consumer import PAYOUT_KINDS, AnyConsumer
from topics.runtime.shape.store import Store, error_kind
from topics.settings import PspAccount, Settings, SettingsError

log = structlog.get_logger()

POLL_S = 0.25
BUSY_POLL_S = 0.01  # more calls are due than may be sent now
SWEEP_EVERY_S = 1.0
AWAY_S = 0.5

BREAKER = Gauge("tally_psp_breaker_open", "1 while calls to the PSP wait", ["psp"])


def run_sender(settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event) -> None:
    """Run until `stop` is set. `wake` is set after the commit of a batch with calls.

    Errors: SettingsError if calls of a PSP that is missing in the settings have not ended. Any other error is a bug.
    """
    CallSender(settings, consumer, stop, wake).run()


class CallSender:
    """Leases and sends this process's share of the room's calls."""

    def __init__(self, settings: Settings, consumer: AnyConsumer, stop: threading.Event, wake: threading.Event) -> None:
        self._stop = stop
        self._wake = wake
        self._me = uuid.uuid4().hex
        self._clock = Clock(settings.clock_file)
        self._store = Store(settings, consumer.name)
        self._others = make_counterparties(settings)
        self._known = {*self._others, *settings.bank_accounts}  # a bank's calls leave in files
        accounts: tuple[PspAccount | PayoutProviderAccount, ...] = (*settings.psps, *settings.http_providers)
        self._paces = {account.name: Pace(account.concurrency, account.rate_per_s) for account in accounts}
        self._recorder = Recorder(settings, consumer, wake)
        self._client = PspClient(self._others, self._paces, self._done)
        self._more_due = False
        self._stopped = False
        self._complete = False  # the PSPs and providers of all open calls are in the settings
        self._sweep_at = 0.0

    def run(self) -> None:
        self._recorder.start()
        self._client.start()
        try:
            while not self._stop.is_set():
                self._wake.wait(BUSY_POLL_S if self._more_due else POLL_S)
                self._wake.clear()
                self._recorder.raise_if_dead()
                self._client.raise_if_dead()
                self._guard(self._turn)
        finally:
            self._client.close()
            self._recorder.close()
            self._store.close()

    def _turn(self) -> None:
        if not self._complete:
            self._check_psps()
        if time.monotonic() >= self._sweep_at:
            self._sweep()
            self._sweep_at = time.monotonic() + SWEEP_EVERY_S
        if not self._stopped and not self._recorder.backlogged:
            self._lease_due()

    def _check_psps(self) -> None:
        """Check the settings once, at the start. Calls of unknown PSPs that appear later come from a process that was
        restarted with a new PSP before this one was. Providers likewise.
        """
        with self._store.transaction() as conn:
            gone = {name: kind for name, kind in calls.open_at(conn) if name not in self._known}
        if gone:
            is_psp = not set(gone.values()) <= set(PAYOUT_KINDS)
            raise SettingsError(
                f"{'TALLY_PSPS' if is_psp else 'TALLY_PAYOUT_PROVIDERS'}: calls at {', '.join(sorted(gone))} have not ended,"
                " and nobody else can say what became of them: keep the account until they have"
                + (", and let TALLY_ROUTING send orders to others" if is_psp else "")
            )
        self._complete = True

    def _guard(self, work: Callable[[], None]) -> None:
        """Wait while the database is away. Nothing is lost: leases expire meanwhile."""
        try:
            work()
        except psycopg.Error as error:
            if error_kind(error) != "away":
                raise
            log.warning("database away", action="lease", error=str(error).strip()[:200])
            self._stop.wait(AWAY_S)

    def _lease_due(self) -> None:
        """Lease due calls for PSPs with at least half of their places free: few large leases cost less than many small ones."""
        half_free = {name: pace for name, pace in self._paces.items() if pace.half_free}
        limits = {name: permits for name, pace in half_free.items() if (permits := pace.permits()) > 0}
        if not limits:
            self._more_due = not all(pace.open for pace in self._paces.values())
            return
        leased_at, now = time.monotonic(), self._clock.now()
        with self._store.batch() as conn:
            taken = calls.lease(conn, limits, now, self._me)
        leased = taken()
        self._more_due = len(leased) >= min(limits.values())
        self._send(leased, leased_at, now)

    def _send(self, leased: Sequence[LeasedCall], leased_at: float, now: datetime) -> None:
        allowed = [call for call in leased if not self._refuse(call, now)]
        for name, pace in self._paces.items():
            count = sum(call.psp == name for call in allowed)
            if count:
                pace.sent(count)
        if allowed:
            self._client.submit(allowed, leased_at)

    def _refuse(self, call: LeasedCall, now: datetime) -> bool:
        """Refuse to send a call whose idempotency key the PSP may have forgotten: the call may have waited long behind an
        open breaker. The decider gets the reply NothingHappened and decides what follows.
        """
        if call.act != "send" or not call.ever_unknown:
            return False
        key_life_s = self._others[call.psp].key_life_s(call)
        if not key_expired(call.first_sent_at, now, key_life_s, KEY_MARGIN_S):
            return False
        self._recorder.put(answer_of(call, NothingHappened("key_expired")))
        return True

    def _done(self, ended: calls.CallReply | LeasedCall) -> None:
        """Record the end of a call; lease more once half of a PSP's places are free. Called by the client's thread."""
        self._recorder.put(ended)
        if self._more_due and any(pace.half_free for pace in self._paces.values()):
            self._wake.set()

    # ── calls that other processes, or this one before a crash, have left ────────────────────────────────────────────

    def _sweep(self) -> None:
        now = self._clock.now()
        with self._store.transaction() as conn:
            self._stopped = is_stopped(conn)
        if self._stopped:
            return
        self._expire(now)
        self._take_over()
        self._end_overdue(now)

    def _expire(self, now: datetime) -> None:
        """Give calls whose lease has expired the reply Unknown: they are asked about, and not sent again as they are."""
        with self._store.transaction() as conn:
            expired = calls.expire(conn, Unknown("lease_expired").to_json(), now)
        if expired:
            log.warning("leases expired", action="expire", calls=expired)

    def _take_over(self) -> None:
        """Apply replies that are stored and not applied, those of `_expire` included, and early notifications."""
        with self._store.transaction() as conn:
            stored = calls.take_unapplied(conn, self._me)
            ready = early.ready(conn)
        for reply in stored:
            self._recorder.put(reply)
        for notification in ready:
            self._recorder.put(notification)

    def _end_overdue(self, now: datetime) -> None:
        """End calls that have waited behind an open breaker past their payment's deadline."""
        for name, pace in self._paces.items():
            BREAKER.labels(name).set(pace.open)
        never_left = NothingHappened("deadline_passed").to_json()
        with self._store.transaction() as conn:
            overdue = calls.end_overdue(conn, never_left, now, datetime.now(UTC), self._me)
        for reply in overdue:
            self._recorder.put(reply)
