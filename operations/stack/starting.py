"""What must be right before a process starts: its logins, its schemas and its topics. A server that is away may come."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from topics import catalog
from topics.runtime.making.revisions import refuse_older
from topics.runtime.shape.kafka import kafka_config
from topics.runtime.shape.postgres import connect_to_read
from topics.runtime.shape.reading import reader_role
from topics.settings import Settings, SettingsError

ANSWER_S = 5  # of a server; later it counts as away
_ROOMS = {"api": "doors", "settlements": "reconciliation"}  # where the process has another name
API_READS = ("payments", "wallet", "ledger", "webhooks")
# libpq has no SQLSTATE for errors before the login is complete.
_REFUSED_FOR_GOOD = (
    "password authentication failed",  # 28P01: of a role that is not there, too
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
    "does not exist",  # the database, 3D000, or the role
)


def check(settings: Settings, names: Sequence[str]) -> dict[str, int] | None:
    """→ how many partitions each topic of these rooms (and the API) has, without prefix; None while Kafka is away.

    Errors: SettingsError, one line, for what no waiting would mend.
    """
    if all(_log_in(settings, role) for role in _roles(names)):  # else the rooms wait, and look at their schemas then
        for room in _rooms(names):
            _refuse_older(settings, room)
    return _partitions(settings, _topics(settings, names))


def _rooms(names: Sequence[str]) -> list[catalog.Room]:
    return [catalog.room(_ROOMS.get(name, name)) for name in names]


def _roles(names: Sequence[str]) -> list[str]:
    roles = [f"tally_{room.name}" for room in _rooms(names) if room.reads]
    return roles + (["tally_doors", *(reader_role(room) for room in API_READS)] if "api" in names else [])


def _log_in(settings: Settings, role: str) -> bool:
    """→ whether the server answered."""
    try:
        connect_to_read(settings.dsn(role), name="tally start").close()
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"the DSN of {role} in TALLY_DSNS cannot be read: {_one_line(error)}") from None
    except psycopg.OperationalError as error:
        said = _one_line(error)
        if any(words in said for words in _REFUSED_FOR_GOOD):
            raise SettingsError(
                f"PostgreSQL does not let {role} in: {said} (TALLY_POSTGRES, TALLY_DATABASE, TALLY_SECRET or TALLY_DSNS"
                " is wrong, or `tally migrate` has not run)"
            ) from None
        return False
    return True


def _refuse_older(settings: Settings, room: catalog.Room) -> None:
    """Errors: OlderSchema."""
    try:
        with connect_to_read(settings.dsn(f"tally_{room.name}"), name="tally start") as conn:
            refuse_older(conn, room)
    except psycopg.OperationalError:
        pass  # gone since the login


def _one_line(error: Exception) -> str:
    """The error of the first attempt of several, without line breaks."""
    return " ".join(str(error).split())[:300]


def _topics(settings: Settings, names: Sequence[str]) -> list[str]:
    """What they read and write, without prefix, each once."""
    rooms = _rooms(names)
    topics = [topic for room in rooms for topic in (*room.reads, *room.writes) if topic.on_kafka]
    dead = [room.dead_letters.name for room in rooms if room.reads]
    return list(dict.fromkeys([n for topic in topics for n in catalog.names(topic, settings.upstreams)] + dead))


def _partitions(settings: Settings, wanted: Sequence[str]) -> dict[str, int] | None:
    """A broker knows a new topic only after a moment, so it is asked repeatedly."""
    heard: list[KafkaError] = []
    admin = _admin(settings, heard)
    end = time.monotonic() + ANSWER_S
    while True:
        try:
            found = admin.list_topics(timeout=ANSWER_S).topics
        except KafkaException:
            _refuse_login(heard)
            return None
        counts = {
            name: len(found[settings.topic_prefix + name].partitions)
            for name in wanted
            if settings.topic_prefix + name in found
        }
        missing = [name for name in wanted if name not in counts]
        if not missing:
            return counts
        if time.monotonic() > end:
            raise SettingsError(
                f"Kafka at {settings.kafka} has no topic {settings.topic_prefix}{missing[0]} ({len(missing)} of"
                f" {len(wanted)} are missing, or may not be read): `tally topics apply` makes them"
            )
        time.sleep(0.2)


def _admin(settings: Settings, heard: list[KafkaError]) -> AdminClient:
    try:
        return AdminClient(kafka_config(settings) | {"error_cb": heard.append})
    except (KafkaException, ValueError, TypeError) as error:
        raise SettingsError(f"TALLY_KAFKA_OPTIONS: {_one_line(error)}") from None


def _refuse_login(heard: Sequence[KafkaError]) -> None:
    """Errors: SettingsError where a broker has answered and does not let us in."""
    for error in heard:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            raise SettingsError(f"TALLY_KAFKA, TALLY_KAFKA_OPTIONS: {_one_line(KafkaException(error))}")
