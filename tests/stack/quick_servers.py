"""The local stack's servers, whose Kafka takes a member of a group for dead after half of the usual time.

Many tests kill a process of a room and wait for another to take over its partitions. What is stored here is thrown away, so
the broker is killed at the end.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace

from operations.stack import kafka, servers
from operations.stack.home import Home
from operations.stack.process import Command

_usual = kafka.properties
SESSION = {
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "750",
}


def properties(data: str, port: int, controller_port: int) -> Mapping[str, str]:
    return {**_usual(data, port, controller_port), **SESSION}


def kafka_command(home: Home, class_path: str, port: int, controller_port: int) -> Command:
    """Closing what was kept for hundreds of topics would take it up to 15 s."""
    return replace(kafka.kafka_command(home, class_path, port, controller_port), stop_signal=signal.SIGKILL)


if __name__ == "__main__":
    servers.kafka_command = kafka_command
    kafka.properties = properties
    servers.main()
