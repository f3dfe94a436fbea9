"""`tally up`, `status` and `down` as a newcomer types them, on one real stack."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families

from operations.auditor.engine.records import reader
from operations.bench import pay_in
from operations.stack.home import CHECKOUT, Home, read_json
from operations.stack.kafka import kafka_answers
from operations.stack.layout import TALLY
from operations.stack.running import current_settings, stack_status
from tests.commands import tally as in_this_process
from tests.stack.memory import quick_folder
from topics import catalog
from topics.runtime.shape.kafka import watermarks
from topics.settings import Settings

LIMIT_S = 90.0
ANY_NAME = """ it's [red]Zürich, 東京: 100% \\ "$HOME" `id` #;&"""


def tally(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return in_this_process({"TALLY_HOME": str(home)}, *words)


def typed(home: Path, *words: str, **own: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    environment = {**inherited, "TALLY_HOME": str(home), **own}
    command = [sys.executable, str(TALLY), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def status(home: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(tally(home, "status", "--json").stdout)
    return told


def pids(told: dict[str, Any]) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in told["processes"]}


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with quick_folder() as folder:
        home = folder / ANY_NAME
        came_up = typed(home, "up", "--detach")
        assert came_up.returncode == 0, came_up.stderr
        yield home
        assert typed(home, "down", "--purge").returncode == 0
        assert not home.exists()


def test_a_stack_that_is_up_says_where_everything_is(home: Path) -> None:
    told = status(home)
    assert set(told) == {"ready", "api_url", "api_key", "kafka", "postgres", "simulator_url", "processes"}
    assert told["ready"]
    names = {process["name"] for process in told["processes"]}
    assert names == {
        "kafka",
        "postgres",
        "simulator",
        "payments-risk-payouts-1",
        "executor-1",
        "wallet-ledger-webhooks-1",
        "reconciliation-1",
        "settlements-1",
        "api",
    }
    assert {process["state"] for process in told["processes"]} == {"running"}


def test_a_folder_of_any_name_holds_all_that_is_kept(home: Path) -> None:
    assert list(home.parent.iterdir()) == [home]
    assert (home / "kafka" / "data" / "meta.properties").exists()
    assert (home / "postgres" / "PG_VERSION").exists()
    assert tally(home, "status").returncode == 0
    assert "demo" in tally(home, "keys", "list").stdout


def test_topics_have_as_many_partitions_as_rooms_have_processes(home: Path) -> None:
    topics = AdminClient({"bootstrap.servers": status(home)["kafka"]}).list_topics(timeout=15).topics
    assert len(topics["executions.v1"].partitions) == 1
    assert len(topics["executor.dlq.v1"].partitions) == 3, "as the catalogue says"


def test_the_demo_key_opens_the_api_and_only_its_owner_can_read_it(home: Path) -> None:
    told = status(home)
    request = urllib.request.Request(
        f"{told['api_url']}/v1/payments", headers={"Authorization": f"Bearer {told['api_key']}"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200
    assert stat.S_IMODE(Home(home).api_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_every_process_tells_whose_checkout_it_belongs_to(home: Path) -> None:
    mine = [psutil.Process(pid) for pid in pids(status(home)).values()]
    family = [*mine, *(child for process in mine for child in process.children(recursive=True))]
    assert all(str(CHECKOUT) in " ".join(process.cmdline()) for process in family)


def test_up_when_it_is_up_changes_nothing(home: Path) -> None:
    before = pids(status(home))
    again = typed(home, "up")
    assert again.returncode == 0
    assert "already up" in again.stderr
    assert pids(status(home)) == before


def test_on_a_terminal_without_our_letters_payments_are_shown_and_books_agree_all_the_same(home: Path) -> None:
    other = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    other["COLUMNS"] = "200"  # so that no cell of the table is broken into lines
    paid = typed(home, "pay", "--watch", "--checkout-id", "plain", **other)
    assert (paid.returncode, "captured" in paid.stdout) == (0, True), paid.stderr
    shown = typed(home, "show", "plain", **other)
    assert (shown.returncode, "EXECUTING -> SUCCESS" in shown.stdout) == (0, True), shown.stderr
    verified = typed(home, "verify", **other)
    assert (verified.returncode, "the books agree" in verified.stdout) == (0, True), verified.stderr


def test_psps_that_hang_for_a_while_cost_no_order_and_are_put_back(home: Path) -> None:
    """Those that refuse: `test_while_a_psp_is_down_its_calls_wait_and_then_all_go_through`."""
    before = json.loads(tally(home, "sim", "faults", "--json").stdout)
    words = ("bench", "outage", "--json", "--rate", "9", "--minutes", "0.05", "--before", "3", "--hang")
    done = typed(home, *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["offered"] == told["accepted"] == told["captured"] > 0
    faultless = dict.fromkeys(("lost", "doubled", "dead_letters", "declined", "failed_otherwise", "unanswered"), 0)
    assert {name: told[name] for name in faultless} == faultless
    assert told["backlog_max"] > 0, "the PSPs were really away"
    assert (told["verify_ok"], told["verify_wrong"]) == (True, [])
    assert json.loads(tally(home, "sim", "faults", "--json").stdout) == before


def test_pay_in_is_measured_beside_its_floor_and_the_floor_leaves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pay_in, "FILLING_S", 1.0)
    settings = current_settings(home=home)
    before = databases_and_topics(settings)
    figures = measured(home, settings, 1)
    if figures["orders_per_s"] == 0:  # a starved machine ends no order in a second
        figures = measured(home, settings, 10)
    assert list(figures)[:3] == ["ratio", "orders_per_s", "floor_orders_per_s"], "what travels comes first"
    orders, floor, ratio = (float(str(figures[name])) for name in ("orders_per_s", "floor_orders_per_s", "ratio"))
    assert orders > 0
    assert ratio == pytest.approx(orders / floor, abs=0.002)
    eventually(lambda: databases_and_topics(settings) == before)
    assert tally(home, "verify").returncode == 0, "the PSPs' books know nothing of the floor"


def measured(home: Path, settings: Settings, seconds: float) -> Mapping[str, object]:
    plan = pay_in.PayInPlan(history_orders=300, measure_s=seconds, latency_s=1, backlog_orders=300)
    return pay_in.run(settings, stack_status(Home(home)), plan, 1, lambda phase, share: None)


def databases_and_topics(settings: Settings) -> tuple[set[str], set[str]]:
    assert settings.postgres_admin
    with psycopg.connect(settings.postgres_admin) as conn:
        names = {row[0] for row in conn.execute("SELECT datname FROM pg_database")}
    return names, set(AdminClient({"bootstrap.servers": settings.kafka}).list_topics(timeout=15).topics)


def charged(home: Path, checkout_id: str) -> int:
    told = [tally(home, "sim", "charges", "--reference", f"{checkout_id}-{n}", "--json").stdout for n in (1, 2, 3)]
    return sum(charge["status"] == "succeeded" for each in told for charge in json.loads(each)["charges"])


def test_what_can_go_wrong_can_be_practised_and_leaves_books_that_agree(home: Path) -> None:
    silent = subprocess.Popen(
        [sys.executable, str(TALLY), "trigger", "timeout"], env={**os.environ, "TALLY_HOME": str(home)}, stdout=PIPE
    )
    said = {what: tally(home, "trigger", what) for what in ("decline", "duplicate", "poison")}
    assert {what: done.returncode for what, done in said.items()} == dict.fromkeys(said, 0), said
    assert "failed: each order is declined with insufficient_funds" in said["decline"].stdout
    assert charged(home, said["decline"].stdout.split()[0]) == 0
    assert "asked for twice, the same answer; its event twice; 3 charges, 3 orders" in said["duplicate"].stdout
    assert charged(home, said["duplicate"].stdout.split()[0]) == 3
    letters = json.loads(tally(home, "dlq", "list", "--each", "--json").stdout)
    assert [letter["letter_id"] for letter in letters] == [said["poison"].stdout.split()[0]]

    stopped = tally(home, "trigger", "stop")
    assert "payments has stopped: payments: too_many_faults" in stopped.stdout, stopped.stderr
    assert "stopped" in {process["state"] for process in status(home)["processes"]}
    for words in (("dlq", "discard", "--all", "--room", "payments"), ("resume", "payments")):
        assert tally(home, *words, "--reason", "practice").returncode == 0

    steady = tally(home, "demo", "--minutes", "0.05", "--rate", "4", "--declined", "0.3")
    assert steady.returncode == 0, steady.stderr
    asked = [int(number) for number in re.findall(r"(\d+) (?:failed|succeeded)", steady.stdout.splitlines()[-1])]
    assert sum(asked) >= 12
    assert steady.stdout.endswith(" 0 on their way\n")

    told, _ = silent.communicate(timeout=120)
    assert silent.returncode == 0
    assert b"succeeded: 3 charges for 3 orders" in told
    verified = tally(home, "verify")
    assert verified.returncode == 0, verified.stdout


def test_nothing_is_triggered_where_no_simulated_psps_are(home: Path, tmp_path: Path) -> None:
    elsewhere = tally(tmp_path, "trigger", "poison")
    assert (elsewhere.returncode, elsewhere.stdout) == (2, "")
    assert "no stack is running here" in elsewhere.stderr


def test_whatever_is_killed_comes_back_servers_included_and_who_read_before_reads_on(home: Path) -> None:
    """A broker that starts again leads its partitions in a later epoch; who asks with the earlier one is refused once."""
    before = pids(status(home))
    victims = ("kafka", "postgres", "executor-1", "api")
    with reader(current_settings(home=home)) as reading:
        ends = reading.ends(*catalog.TOPICS)
        for name in victims:
            os.kill(before[name], signal.SIGKILL)
        eventually(lambda: all(pids(status(home))[name] != before[name] for name in victims))
        eventually(lambda: bool(status(home)["ready"]))
        eventually(
            lambda: kafka_answers(status(home)["kafka"])
        )  # rooms that have no call to make are ready before that
        now = reading.ends(*catalog.TOPICS)
        assert all(now[where] >= ends[where] for where in ends), "nothing is lost"
        assert all(record.error() is None for record in reading.records(ends))
    after = {process["name"]: process["restarts"] for process in status(home)["processes"]}
    assert all(after[name] >= 1 for name in victims)


def test_nothing_outlives_a_kill_of_the_supervisor_and_the_next_start_finds_the_data(home: Path) -> None:
    told = status(home)
    children = [psutil.Process(pid) for pid in pids(told).values()]
    children += [child for process in list(children) for child in process.children(recursive=True)]
    os.kill(read_json(Home(home).holder)["pid"], signal.SIGKILL)
    eventually(lambda: not any(is_alive(child) for child in children))
    assert not status(home)["ready"]
    assert typed(home, "up", "--detach").returncode == 0
    again = status(home)
    assert again["ready"]
    where = ("api_url", "api_key", "kafka", "postgres", "simulator_url")
    assert {name: again[name] for name in where} == {name: told[name] for name in where}


NOT_BY_A_PAYMENT = {  # nor tally_stuck…
    *("tally_room_state", "tally_parked_total", "tally_psp_breaker_open", "tally_topics_repartitioned"),
}


@contextmanager
def deaf_endpoint(told: dict[str, Any]) -> Iterator[None]:
    """A merchant's endpoint at which nobody listens."""

    def ask(method: str, body: bytes | None) -> None:
        headers = {"Authorization": f"Bearer {told['api_key']}", "Content-Type": "application/json"}
        url = f"{told['api_url']}/v1/webhook-endpoints/deaf"
        urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=10).close()

    ask("PUT", b'{"url": "http://127.0.0.1:1/"}')
    yield
    ask("DELETE", None)


def last_record(kafka: str, topic: str) -> Message:
    """Of a topic with one partition."""
    reader = Consumer({"bootstrap.servers": kafka, "group.id": "last", "enable.auto.commit": False})
    _, end = watermarks(reader, TopicPartition(topic, 0))
    reader.assign([TopicPartition(topic, 0, end - 1)])
    record = reader.poll(15)
    reader.close()
    assert record is not None
    return record


def traces(kafka: str) -> dict[str, dict[str, set[str]]]:
    """Checkout → topic → the ids of the traces of what it holds of it. Of topics with one partition."""
    reader = Consumer({"bootstrap.servers": kafka, "group.id": "traces", "enable.auto.commit": False})
    found: dict[str, dict[str, set[str]]] = {}
    for topic in TRACED:
        _, end = watermarks(reader, TopicPartition(topic, 0))
        reader.assign([TopicPartition(topic, 0, 0)])
        for record in reader.consume(end, 15):
            checkout_id = json.loads(record.value() or b"").get("checkout_id", "")  # what a test spoilt has none
            headers = {name: value for name, value in record.headers() or [] if isinstance(value, bytes)}
            trace = headers.get("traceparent", b"-none").decode().split("-")[1]
            found.setdefault(checkout_id, {}).setdefault(topic, set()).add(trace)
    reader.close()
    return found


TRACED = (
    *("payment-requests.v1", "screenings.v1", "risk-decisions.v1", "payment-orders.v1", "executions.v1"),
    *("wallet-movements.v1", "ledger-entries.v1", "payments.v1"),
)


def test_a_payment_has_one_trace_from_its_request_to_its_last_word(home: Path) -> None:
    """Begun by who asks, or else by the door; also where the PSP decides later and tells us by a webhook."""
    told, given = status(home), "0af7651916cd43dd8448eb211c80319c"
    order = {"payment_order_id": "traced-1", "seller_account": "s", "amount": "12.34", "currency": "EUR"}
    asked = {"checkout_id": "traced", "buyer_info": {"buyer_account": "b"}, "payment_method": {"token": "tok_3ds"}}
    headers = {"Authorization": f"Bearer {told['api_key']}", "Content-Type": "application/json"}
    headers["traceparent"] = f"00-{given}-b7ad6b7169203331-01"
    body = json.dumps(asked | {"payment_orders": [order]}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{told['api_url']}/v1/payments", body, headers, method="POST"), timeout=10
    ).close()
    assert tally(home, "pay", "--watch", "--checkout-id", "untraced").returncode == 0
    eventually(lambda: '"done"' in tally(home, "show", "traced", "--json").stdout)
    found = traces(told["kafka"])
    assert found["traced"] == {topic: {given} for topic in TRACED}
    begun = json.loads(tally(home, "show", "untraced", "--json").stdout)["trace"]
    assert re.fullmatch("[0-9a-f]{32}", begun)
    assert found["untraced"] == {topic: {begun} for topic in TRACED}
    assert f"checkout traced, trace {given}" in tally(home, "show", "traced").stdout


def metrics(home: Path) -> dict[str, float]:
    """The sum over all processes, by name; of room states the lowest. A metric without samples is there as 0."""
    sums: dict[str, float] = {}
    for report in Home(home).run.glob("*.json"):
        with urllib.request.urlopen(
            f"http://127.0.0.1:{read_json(report)['metrics_port']}/metrics", timeout=10
        ) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        for family in families:
            name = family.name + ("_total" if family.type == "counter" else "")
            samples = [s.value for s in family.samples if s.name in (name, f"{name}_count")]
            if name == "tally_room_state":
                sums[name] = min([*(samples or [0]), sums.get(name, 1)])
            else:
                sums[name] = sum(samples, sums.get(name, 0))
    return sums


HEAR_EXECUTIONS = sum(catalog.EXECUTIONS in room.reads for room in catalog.CONSUMERS)


def told_more(home: Path, before: dict[str, float], name: str) -> float:
    return metrics(home)[name] - before.get(name, 0)


def test_every_metric_in_the_docs_is_there_and_moves_with_what_it_counts(home: Path) -> None:
    told = status(home)
    before = metrics(home)
    documented = set(re.findall(r"`(tally_\w+)", (CHECKOUT / "docs" / "metrics.md").read_text()))
    assert documented <= before.keys()
    assert before["tally_room_state"] == 1
    with deaf_endpoint(told):
        assert tally(home, "pay", "--watch", "--token", "tok_3ds").returncode == 0  # its PSP tells us of the end
        again, kafka = last_record(told["kafka"], "executions.v1"), Producer({"bootstrap.servers": told["kafka"]})
        kafka.produce("executions.v1", again.value(), again.key(), headers=again.headers())
        kafka.produce("executions.v1", b"no JSON", b"key")
        kafka.flush(15)
        moved = {name for name in documented - NOT_BY_A_PAYMENT if not name.startswith("tally_stuck")}
        eventually(lambda: {name for name, now in metrics(home).items() if now > before.get(name, 0)} >= moved)
    eventually(lambda: told_more(home, before, "tally_dead_letters_total") == HEAR_EXECUTIONS)
    eventually(
        lambda: told_more(home, before, "tally_duplicates_total") >= HEAR_EXECUTIONS
    )  # a PSP may tell twice, too
    for letter in json.loads(tally(home, "dlq", "list", "--each", "--json").stdout):
        assert (
            tally(home, "dlq", "discard", f"{letter['room']}/{letter['letter_id']}", "--reason", "of a test").returncode
            == 0
        )


def test_down_ends_every_process_and_once_is_enough(home: Path) -> None:
    processes = [psutil.Process(pid) for pid in pids(status(home)).values()]
    assert typed(home, "down").returncode == 0
    assert not any(is_alive(process) for process in processes)
    again = typed(home, "down")
    assert again.returncode == 0
    assert "not up" in again.stderr


def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(tmp_path: Path) -> None:
    command = [sys.executable, str(TALLY), "up"]
    environment = {**os.environ, "TALLY_HOME": str(tmp_path / "home"), "TALLY_API_PORT": "door"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "TALLY_API_PORT" in done.stderr
    assert not (tmp_path / "home").exists()


def is_alive(process: psutil.Process) -> bool:
    """A zombie has ended; who inherits it may be slow to notice."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
