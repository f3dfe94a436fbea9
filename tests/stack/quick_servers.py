"""The local stack's servers, whose Kafka takes a member of a group for dead after half of the usual time.

Many tests kill a process of a room and then wait for another to take over its partitions.
"""

from __future__ import annotations

from collections.abc import Mapping

from operations.stack import kafka, servers

_usual = kafka.properties
SESSION = {
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "750",
}


def properties(data: str, port: int, controller_port: int) -> Mapping[str, str]:
    return {**_usual(data, port, controller_port), **SESSION}


if __name__ == "__main__":
    kafka.properties = properties
    servers.main()
