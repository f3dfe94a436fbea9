"""Real servers → for each test a database, topics and settings of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import structlog
from confluent_kafka.admin import AdminClient, TopicMetadata
from hypothesis import settings as hypothesis_settings

from operations.stack.servers import Servers
from operations.stack.settings import load_settings
from tests import workers
from tests.databases import Copies, copy_database, drop_database
from topics.settings import Settings

# Who asks Python for no compiled files makes each process compile all of its modules: most of what a short one does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No deadline for an example: on a loaded machine one takes ten times as long as on an idle one.
hypothesis_settings.register_profile("loaded", deadline=None)
hypothesis_settings.load_profile("loaded")

# Past `sys.stdout`, which a test of a command takes for what the command says: threads of rooms write meanwhile.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))

# Login roles belong to the server, not to a database: sessions that share one server must agree on their passwords.
SECRET = "the secret of every test"
MIGRATING = 7_346_021  # advisory lock: roles cannot be altered by two sessions at once


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=["local", "containers", "existing"],
        default="existing" if "TALLY_TEST_SERVERS" in os.environ else "local",
        help="Kafka and PostgreSQL: started here, in containers, or those of the JSON file named by TALLY_TEST_SERVERS",
    )
    parser.addoption(
        "--chaos-minutes",
        type=float,
        default=0,
        help="how long the whole system is hurt at random; 0 is the slice of an ordinary run",
    )
    parser.addoption(
        "--chaos-checkouts-per-s", type=float, default=2, help="load of such a run; a checkout has three orders"
    )


def pytest_configure() -> None:
    """A script's shell starts what it puts into the background deaf to Ctrl-C, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return workers.workers(config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> workers.ByFile:
    return workers.ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = workers.in_order(items)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Kafka and PostgreSQL for the whole session."""
    match request.config.getoption("--stack"):
        case "local":
            yield from _local()
        case "containers":
            yield from _containers()
        case _:
            yield _existing()


def _local() -> Iterator[Servers]:
    from tests.stack.local import local_servers
    from tests.stack.memory import quick_folder

    with quick_folder() as home, local_servers(home) as servers:
        yield servers


def _containers() -> Iterator[Servers]:
    from tests.stack.containers import NoDocker, container_servers

    try:
        with container_servers() as servers:
            yield servers
    except NoDocker as reason:
        pytest.skip(str(reason))


def _existing() -> Servers:
    try:
        found = json.loads(Path(os.environ["TALLY_TEST_SERVERS"]).read_text())
    except KeyError:
        raise pytest.UsageError("--stack=existing needs TALLY_TEST_SERVERS, the path of a JSON file") from None
    return Servers(found["kafka"], found["postgres"], found["postgres_admin"])


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[str]:
    """The name of a migrated database, made once for the session; tests get copies."""
    from topics.runtime.making.migrate import migrate

    name = f"tally_template_{secrets.token_hex(4)}"
    settings = load_settings(postgres=servers.postgres, database=name, secret=SECRET)
    with psycopg.connect(servers.postgres_admin, autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
        migrate(settings, servers.postgres_admin)
    copies = Copies(servers, name)
    yield name
    copies.close()
    drop_database(servers, name)


@pytest.fixture
def stored(servers: Servers, template: str) -> Iterator[Settings]:
    """Settings with an empty database of their own."""
    name = f"tally_s{secrets.token_hex(5)}"
    copy_database(servers, template, name)
    yield load_settings(postgres=servers.postgres, database=name, secret=SECRET)
    drop_database(servers, name)


@contextmanager
def stores(servers: Servers, template: str, folder: Path) -> Iterator[Callable[..., Settings]]:
    """A maker of settings with an empty database and a home of their own, and no topics; databases end with the block."""
    made: list[Settings] = []

    def make(**overrides: object) -> Settings:
        name = f"t{secrets.token_hex(5)}"
        home = folder / name
        home.mkdir(mode=0o700)
        copy_database(servers, template, f"tally_{name}")
        own = {"topic_prefix": f"{name}.", "database": f"tally_{name}", "secret": SECRET, "home": home}
        where = {"kafka": servers.kafka, "postgres": servers.postgres}
        settings = load_settings(**{**where, **own, **overrides})
        made.append(settings)
        return settings

    try:
        yield make
    finally:
        for settings in made:
            drop_database(servers, settings.database)


@pytest.fixture
def make_store(servers: Servers, template: str, tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    """A maker of settings with an empty database and a home of their own; keywords are further settings."""
    with stores(servers, template, tmp_path) as make:
        yield make


@pytest.fixture
def make_stack(make_store: Callable[..., Settings]) -> Iterator[Callable[..., Settings]]:
    """The same, with topics of their own."""
    with stacks(make_store) as make:
        yield make


@contextmanager
def stacks(make_store: Callable[..., Settings]) -> Iterator[Callable[..., Settings]]:
    """A maker of settings with a database and topics of their own; topics end with the block."""
    from topics.runtime.making.topics import apply_topics

    made: list[Settings] = []

    def make(**overrides: object) -> Settings:
        settings = make_store(**overrides)
        made.append(settings)
        apply_topics(settings)
        await_topics(settings)
        return settings

    try:
        yield make
    finally:
        for settings in made:
            delete_topics(settings)


@pytest.fixture
def stack(make_stack: Callable[..., Settings]) -> Settings:
    """The usual settings with an empty database, topics and a home of its own."""
    return make_stack()


def await_topics(settings: Settings) -> None:
    """The controller has made them; the broker, which is asked next, hears of it a moment later."""
    from topics.catalog import all_topics

    wanted = {settings.topic_prefix + name for name in all_topics(settings.upstreams)}
    admin, end = AdminClient({"bootstrap.servers": settings.kafka}), time.monotonic() + 30
    while not wanted <= {name for name, topic in admin.list_topics(timeout=15).topics.items() if is_led(topic)}:
        assert time.monotonic() < end, "the broker does not know the topics that were made"
        time.sleep(0.02)


def is_led(topic: TopicMetadata) -> bool:
    return all(partition.leader >= 0 for partition in topic.partitions.values())


def delete_topics(settings: Settings) -> None:
    """Thousands of partitions would slow the broker down by the end of a session."""
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    mine = [name for name in admin.list_topics(timeout=15).topics if name.startswith(settings.topic_prefix)]
    if mine:
        for done in admin.delete_topics(mine).values():
            done.exception()


def pytest_unconfigure() -> None:
    """The summary is the last word: a Kafka client that outlives its broker would complain after it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
