"""A Docker engine → apache/kafka and postgres:18 in containers, removed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer

from operations.stack.kafka import kafka_answers
from operations.stack.ports import PortClaims
from operations.stack.postgres import postgres_answers
from operations.stack.servers import Servers

KAFKA_IMAGE = "apache/kafka:4.4.0"
POSTGRES_IMAGE = "postgres:18"
READY_TIMEOUT_S = 120.0


class NoDocker(Exception):
    """There is no Docker engine to start containers with."""


@contextmanager
def container_servers() -> Iterator[Servers]:
    """Both servers in containers. Errors: NoDocker."""
    claims = PortClaims()
    port = claims.choose(29092)  # Kafka must be told beforehand under which port it will be reached
    try:
        kafka, postgres = kafka_container(port), postgres_container()
        with kafka, postgres:
            host, mapped = postgres.get_container_host_ip(), postgres.get_exposed_port(5432)
            servers = Servers(f"{kafka.get_container_host_ip()}:{port}", f"{host}:{mapped}", _dsn(host, mapped))
            wait_until(lambda: kafka_answers(servers.kafka), "Kafka")
            wait_until(lambda: postgres_answers(servers.postgres_admin), "PostgreSQL")
            yield servers
    except DockerException as error:
        raise NoDocker(f"--stack=containers needs a running Docker engine: {error}") from None


def _dsn(host: str, port: int) -> str:
    return f"postgresql://postgres:tests@{host}:{port}/postgres"


def kafka_container(port: int) -> DockerContainer:
    """One node; the four group settings are those of the local stack, so that take-overs are as quick."""
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "6000",
        "KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS": "6000",
        "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "1000",
        "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "1500",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in settings.items():
        container = container.with_env(name, value)
    return container


def postgres_container() -> DockerContainer:
    container = DockerContainer(POSTGRES_IMAGE).with_exposed_ports(5432).with_env("POSTGRES_PASSWORD", "tests")
    return container.with_command("-c max_connections=200")


def wait_until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while not ready():
        assert time.monotonic() < end, f"{what} did not answer in {READY_TIMEOUT_S:.0f} s"
        time.sleep(0.2)
