"""The catalogue's topics → topics on the broker. Idempotent; never deletes, never re-partitions."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from topics.catalog import DAYS, PARTITIONS, Topic, all_topics
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings


def topic_config(topic: Topic, replicas: int) -> dict[str, str]:
    """Retention, compaction, timestamp type, and how many brokers must have an acknowledged record."""
    config = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": "-1" if topic.retention_days is None else str(topic.retention_days * DAYS * 1000),
        "message.timestamp.type": "LogAppendTime" if topic.door else "CreateTime",
        # A dead letter's copy is its message with more headers: it must always fit.
        "max.message.bytes": "2097152" if topic.name.endswith(".dlq.v1") else "1048588",
    }
    if replicas >= 3:
        config["min.insync.replicas"] = "2"  # outbox rows are deleted once acknowledged: one disk is not enough
    return config | ({"min.cleanable.dirty.ratio": "0.1"} if topic.compacted else {})


def apply_topics(settings: Settings, partitions: int = PARTITIONS) -> list[str]:
    """Create missing topics and correct settings that differ. → a line for each change.

    `partitions` is for new topics if neither catalogue nor settings have a number.

    Errors: KafkaException if the broker is away; Repartitioned, after all changes, if existing topics have another number
    of partitions.
    """
    admin = AdminClient(kafka_config(settings))
    wanted = {settings.topic_prefix + name: topic for name, topic in all_topics(settings.upstreams).items()}
    present = admin.list_topics(timeout=15).topics
    missing = {name: topic for name, topic in wanted.items() if name not in present}
    done = _make(admin, missing, settings.partitions or partitions, settings.replication_factor)
    kept = {name: topic for name, topic in wanted.items() if name in present}
    done += _correct(admin, kept, settings.replication_factor)
    counts = {name: len(present[name].partitions) for name in kept}
    due = {name: topic.partitions or settings.partitions or counts[name] for name, topic in kept.items()}
    if other := [
        f"{name} has {counts[name]} partitions, not {due[name]}" for name in kept if counts[name] != due[name]
    ]:
        raise Repartitioned(done, other)
    return done


class Repartitioned(Exception):
    """Topics have another number of partitions than the catalogue or the settings. `done` has the lines of `apply_topics`."""

    def __init__(self, done: list[str], other: list[str]) -> None:
        why = "the order of a key's events depends on that number. Is TALLY_PARTITIONS as it was when the topics were made?"
        super().__init__(f"{'; '.join(other)}: {why}")
        self.done = done


def _make(admin: AdminClient, missing: dict[str, Topic], partitions: int, replicas: int) -> list[str]:
    new = [
        NewTopic(name, topic.partitions or partitions, replicas, config=topic_config(topic, replicas))
        for name, topic in missing.items()
    ]
    for future in admin.create_topics(new, operation_timeout=30).values() if new else ():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
    return [f"topic {name} made" for name in missing]


def _correct(admin: AdminClient, topics: dict[str, Topic], replicas: int) -> list[str]:
    if not topics:
        return []
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    changed = []
    for resource, future in admin.describe_configs(resources).items():
        now = {key: entry.value for key, entry in future.result().items()}
        wanted = topic_config(topics[resource.name], replicas)
        if any(now.get(key) != value for key, value in wanted.items()):
            changed.append(ConfigResource(ResourceType.TOPIC, resource.name, set_config=wanted))
    for future in admin.alter_configs(changed).values() if changed else ():
        future.result()
    return [f"topic {resource.name} corrected" for resource in changed]


def delete_topics(settings: Settings) -> None:
    """Delete all topics under this installation's prefix; for tests and benchmarks, which have their own prefix."""
    assert settings.topic_prefix, "refusing to delete topics without a prefix"
    admin = AdminClient(kafka_config(settings))
    names = [name for name in admin.list_topics(timeout=15).topics if name.startswith(settings.topic_prefix)]
    for future in admin.delete_topics(names).values() if names else ():
        future.result()
