"""`tally trigger …`: makes one thing go wrong on the stack of this machine, for practice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

import typer

from operations.cli.commands.pay import Api, demo_request, follow, last, new_id, running_api
from operations.cli.commands.sim import call as simulator
from operations.cli.terminal import note, say
from operations.stack.home import Home, StackError

app = typer.Typer(help="Make one thing go wrong, on this machine's stack, to practise.", no_args_is_help=True)

WAIT_S = 90.0
POISON_MAX = 400  # records; more than enough for a room that stops at the 21st fault, or at one in a hundred
BUNCH = 25


@app.command()
def decline(
    code: Annotated[str, typer.Option(help="the bank's code")] = "insufficient_funds",
) -> None:
    """A buyer's bank declines: the payment fails, and nothing is booked."""
    paid = _pay_and_wait(_simulated_stack(), f"tok_declined_{code}")
    say(f"{paid.id} {paid.status}: each order is declined with {code}, none is booked")
    note(f"`tally show {paid.id}-1` tells the order's story")


@app.command()
def timeout() -> None:
    """The PSP charges and never answers: we ask it until we know, and charge nobody twice."""
    note("the PSP charges three orders and does not answer; this may take half a minute")
    paid = _pay_and_wait(_simulated_stack(), "tok_timeout_charged")
    say(f"{paid.id} {paid.status}: {paid.charges} charges for {len(paid.orders)} orders")
    note(f"`tally show {paid.id}-1` tells how it was found out")


@app.command()
def duplicate() -> None:
    """The same request comes twice over HTTP, and its event twice on Kafka: there is one payment, charged once."""
    api, checkout_id = _simulated_stack(), new_id()
    kafka = _Kafka.connect()
    request = demo_request(checkout_id, 3, "tok_visa", "EUR")
    ends = kafka.ends("payment-requests.v1")
    first, again = (api.call("POST", "/v1/payments", request) for _ in range(2))
    kafka.republish("payment-requests.v1", ends, checkout_id)
    paid = _wait_until_done(api, first)
    same = "the same answer" if again["received_at"] == first["received_at"] else "another answer"
    say(f"{paid.id} {paid.status}: asked for twice, {same}; its event twice; {paid.charges} charges, 3 orders")
    note(f"`tally show {paid.id}` has one request; `tally verify` agrees")


@app.command()
def poison() -> None:
    """A record that no one can read comes to the room payments: it becomes a dead letter, and all else goes on."""
    api, key = _simulated_stack(), f"poison-{new_id()}"
    _Kafka.connect().publish_poison(str(uuid4()), [key])
    _wait_or_fail(lambda: bool(_letters(api, key)), "the dead letter did not come")
    [letter] = _letters(api, key)
    say(f"{letter['letter_id']} of payments: {letter['code']}")
    note("look: `tally dlq list`, `tally dlq show ID`; let it go: `tally dlq discard ID --reason practice`")


@app.command()
def stop() -> None:
    """So many such records come that the room payments counts them as its own fault, and stops."""
    _simulated_stack()
    kafka, key, event_id = _Kafka.connect(), f"poison-{new_id()}", str(uuid4())
    sent = 0
    while not (reason := _stop_reason("payments")):
        if sent >= POISON_MAX:
            raise StackError(f"payments did not stop after {sent} records that it cannot read")
        kafka.publish_poison(event_id, [f"{key}-{sent + number}" for number in range(BUNCH)])
        sent += BUNCH
        _wait_for(lambda: bool(_stop_reason("payments")))
    say(f"payments has stopped: {reason}")
    note(
        "see: `tally status`, `tally pay` (it waits); mend: `tally dlq discard --all --room payments --reason practice`,",
        "then `tally resume payments --reason practice`",
    )


# ── on this stack ────────────────────────────────────────────────────────────────────────────────────────────────────


def _simulated_stack() -> Api:
    """Errors: StackError, ConnectionError where no stack with simulated PSPs runs here: real ones are no place to practise."""
    api = running_api()
    simulator("GET", "/control/status")
    return api


@dataclass(frozen=True)
class _FinishedPayment:
    """A payment that is done, and how many charges the PSPs have in their own books."""

    id: str
    status: str
    orders: list[dict[str, Any]]

    @property
    def charges(self) -> int:
        told = [simulator("GET", f"/control/charges?reference={one['payment_order_id']}") for one in self.orders]
        return sum(charge["status"] == "succeeded" for each in told for charge in each["charges"])


def _pay_and_wait(api: Api, token: str) -> _FinishedPayment:
    return _wait_until_done(api, api.call("POST", "/v1/payments", demo_request(new_id(), 3, token, "EUR")))


def _wait_until_done(api: Api, payment: dict[str, Any]) -> _FinishedPayment:
    """Errors: StackError where it is not done in time."""
    payment = last(follow(api, payment, WAIT_S))
    if not payment["is_payment_done"]:
        raise StackError(f"{payment['checkout_id']} is not done after {WAIT_S:g} s: `tally stuck`")
    return _FinishedPayment(payment["checkout_id"], payment["status"], payment["payment_orders"])


def _letters(api: Api, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.call("GET", f"/v1/ops/letters?room=payments&key={key}")["letters"]
    return found


def _stop_reason(room: str) -> str | None:
    """Why the room of this stack has stopped, if it has."""
    from operations.stack.running import current_settings, stack_status

    processes = stack_status(Home(current_settings().home)).processes
    found = [process for process in processes if room in process.rooms and process.state == "stopped"]
    return (found[0].reason or "no reason given") if found else None


def _wait_or_fail(true: Callable[[], bool], otherwise: str) -> None:
    if not _wait_for(true, WAIT_S):
        raise StackError(f"{otherwise} in {WAIT_S:g} s: `tally status`")


def _wait_for(true: Callable[[], bool], for_s: float = 3.0) -> bool:
    end = time.monotonic() + for_s
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


class _Kafka:
    """This stack's topics, for a moment."""

    def __init__(self, config: Mapping[str, Any], prefix: str) -> None:
        self._config, self._prefix = config, prefix

    @classmethod
    def connect(cls) -> _Kafka:
        from operations.stack.running import current_settings
        from topics.runtime.shape.kafka import kafka_config

        settings = current_settings()
        return cls(kafka_config(settings), settings.topic_prefix)

    def publish_poison(self, event_id: str, keys: list[str]) -> None:
        """Publish unreadable records to the room payments, as if from risk; all under one id, as none of our publishers does."""
        headers = [("ce_id", event_id.encode())]
        records = [(key.encode(), json.dumps({"poison": key}).encode(), headers) for key in keys]
        self._publish("risk-decisions.v1", records)

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → the next record's offset."""
        from confluent_kafka import TopicPartition

        from topics.runtime.shape.kafka import watermarks

        with self._reader() as reader:
            name = self._prefix + topic
            partitions = reader.list_topics(name, timeout=15).topics[name].partitions
            return {n: watermarks(reader, TopicPartition(name, n))[1] for n in partitions}

    def republish(self, topic: str, begins: Mapping[int, int], key: str) -> None:
        """Publish the first record of that key since `begins` again, byte for byte. Errors: StackError if none comes."""
        for record in self._records_since(topic, begins):
            if record.key() == key.encode():
                self._publish(topic, [(record.key(), record.value(), record.headers())])
                return
        raise StackError(f"no record of {key} on {topic} in {WAIT_S:g} s")

    def _records_since(self, topic: str, begins: Mapping[int, int]) -> Iterator[Any]:
        from confluent_kafka import TopicPartition

        with self._reader() as reader:
            reader.assign([TopicPartition(self._prefix + topic, n, offset) for n, offset in begins.items()])
            end = time.monotonic() + WAIT_S
            while time.monotonic() < end:
                record = reader.poll(0.5)
                if record is not None and record.error() is None:
                    yield record

    def _reader(self) -> Any:
        from contextlib import closing

        from confluent_kafka import Consumer

        return closing(Consumer({**self._config, "group.id": "tally-trigger", "enable.auto.commit": False}))

    def _publish(self, topic: str, records: list[tuple[bytes, bytes, Any]]) -> None:
        from confluent_kafka import Producer

        producer = Producer(dict(self._config))
        for key, value, headers in records:
            producer.produce(self._prefix + topic, key=key, value=value, headers=headers)
        if producer.flush(WAIT_S):
            raise ConnectionError("Kafka does not take the records")
