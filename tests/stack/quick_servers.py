"""The local stack's servers, whose Kafka takes a member of a group for dead after half of the usual time.

Many tests kill a process of a room and wait for another to take over its partitions. What is stored here is thrown away: the
broker is killed at the end, and PostgreSQL does not wait for the disk. No test cuts the machine's power, and all that a
killed server has written is still there; a database made and dropped costs a tenth of a second in place of several.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace

from operations.stack import kafka, postgres, servers
from operations.stack.home import Home
from operations.stack.process import Command

_usual = kafka.properties
SESSION = {
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "750",
}
NO_DISK = {"fsync": "off", "full_page_writes": "off", "min_wal_size": "64MB", "max_wal_size": "512MB"}
# A password is hashed 4,096 times at each login otherwise: half of what a connection costs.
LOGIN = {"scram_iterations": "1"}
POSTGRES = {**postgres.SETTINGS, **NO_DISK, **LOGIN}


def properties(data: str, port: int, controller_port: int) -> Mapping[str, str]:
    return {**_usual(data, port, controller_port), **SESSION}


def kafka_command(home: Home, class_path: str, port: int, controller_port: int) -> Command:
    """Closing what was kept for hundreds of topics would take it up to 15 s."""
    return replace(kafka.kafka_command(home, class_path, port, controller_port), stop_signal=signal.SIGKILL)


if __name__ == "__main__":
    servers.kafka_command = kafka_command
    kafka.properties = properties
    postgres.SETTINGS = POSTGRES
    servers.main()
