"""Ports, jars, home folder and addresses of the local stack, without starting any of it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from operations.cli.stack_started import existing_servers
from operations.stack import jars, layout, postgres
from operations.stack.environment import as_text
from operations.stack.home import Home, StackError, write_json, write_private
from operations.stack.jars import Jar, JarError, ensure, locked_jars
from operations.stack.kafka import kafka_answers, properties
from operations.stack.ports import PREFERRED, PortClaims, choose_ports, is_free
from operations.stack.postgres import forget_stale_owner, init_cluster, postgres_version
from operations.stack.running import DOWN, current_settings, same_process, stack_status
from operations.stack.servers import AlreadyRunning, hold
from operations.stack.settings import load_settings
from topics.settings import SettingsError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in [name for name in os.environ if name.startswith("TALLY_")]:
        monkeypatch.delenv(name)
    home = Home(tmp_path / "a home")
    home.prepare()
    return home


def test_a_home_is_private_and_its_secret_is_made_once(home: Home) -> None:
    secret = home.secret.read_text()
    home.prepare()
    assert home.secret.read_text() == secret
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.secret.stat().st_mode) == 0o600


def test_a_home_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="TALLY_HOME"):
        Home(tmp_path / "file" / "home").prepare()


@pytest.mark.parametrize("name", ["two\nlines", "tab\t", "\x7f", os.fsdecode(b"latin-1 \xfc")])
def test_a_name_that_no_file_of_settings_could_hold_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(StackError, match="TALLY_HOME"):
        Home(tmp_path / name).prepare()
    assert not list(tmp_path.iterdir())


def test_postgres_in_a_folder_that_a_shell_would_read_otherwise_is_one_clear_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "find_binaries", lambda: Path("/opt/$HOME/bin"))
    with pytest.raises(StackError, match=r"\$ in its name"):
        init_cluster(home, "secret")


def test_jars_in_a_folder_that_no_class_path_can_hold_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2_REPO", "/a:b")
    with pytest.raises(StackError, match="M2_REPO"):
        jars.class_path()


def test_purging_leaves_what_is_not_ours(home: Home) -> None:
    (home.path / "letters.txt").write_text("mine")
    assert home.purge()
    assert [entry.name for entry in home.path.iterdir()] == ["letters.txt"]


def test_purging_a_folder_that_is_no_home_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert not Home(tmp_path).purge()
    assert (tmp_path / "run").exists()


def test_a_home_has_one_holder(home: Home) -> None:
    with hold(home), pytest.raises(AlreadyRunning):
        hold(home)


def test_a_port_in_use_is_replaced_by_a_free_one_which_is_kept(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = taken.getsockname()[1]
        claims = PortClaims()
        chosen = choose_ports(home, claims, {"api": used})
        claims.release()
    assert chosen["api"] != used
    assert is_free(chosen["api"])
    again = choose_ports(home, PortClaims(), {})
    assert again == chosen
    assert set(again) == set(PREFERRED)


def test_two_stacks_that_start_together_choose_different_ports(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.prepare()
    here, there = PortClaims(), PortClaims()
    assert not set(choose_ports(home, here, {}).values()) & set(choose_ports(other, there, {}).values())


def test_a_jar_with_other_contents_than_locked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forged(jar: Jar, staging: Path) -> Path:
        (staging / "forged.jar").write_bytes(b"forged")
        return staging / "forged.jar"

    monkeypatch.setattr(jars, "download", forged)
    wanted = locked_jars()[0]
    with pytest.raises(JarError, match="sha256"):
        ensure(wanted, tmp_path)
    assert not (tmp_path / wanted.place).exists()


def test_kafkas_server_and_clients_are_one_version() -> None:
    kafka = {jar.version for jar in locked_jars() if jar.group == "org.apache.kafka"}
    assert len(kafka) == 1


def test_the_mirror_of_the_users_maven_settings_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".m2"
    folder.mkdir()
    mirror = "<mirror><mirrorOf>central</mirrorOf><url>http://mirror.invalid/maven/</url></mirror>"
    (folder / "settings.xml").write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">'
        f"<localRepository>${{user.home}}/jars</localRepository><mirrors>{mirror}</mirrors></settings>"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("M2_REPO", raising=False)
    assert jars.remote_repositories()["central"] == "http://mirror.invalid/maven"
    assert jars.local_repository() == tmp_path / "jars"


@pytest.mark.parametrize("place", [".config/jgo.conf", ".jgorc"])
def test_jars_are_kept_where_jgos_settings_say_and_maven_keeps_them_without(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("M2_REPO", "JGO_CONFIG_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert jars.local_repository() == tmp_path / ".m2" / "repository"
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(f"[settings]\nrepo_cache = {tmp_path}/kept\n")
    assert jars.local_repository() == tmp_path / "kept"


def test_a_killed_rooms_partitions_are_taken_over_soon() -> None:
    stated = properties("data", 1, 2)
    assert stated["group.consumer.session.timeout.ms"] == "6000"
    assert stated["group.consumer.min.session.timeout.ms"] == "6000"


def test_a_postmaster_file_with_a_strangers_number_is_removed(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    forget_stale_owner(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()


def test_a_folder_without_postgres_has_no_version(tmp_path: Path) -> None:
    assert postgres_version(tmp_path) == 0


def test_a_number_that_was_given_to_another_process_is_not_ours() -> None:
    assert same_process({"pid": os.getpid(), "created": 1.0}) is None


def test_no_broker_does_not_answer() -> None:
    assert not kafka_answers("127.0.0.1:1")


def test_a_stack_that_is_not_up_has_a_status_all_the_same(home: Home) -> None:
    write_json(home.state, {"started": True, "processes": [], "api_url": "http://127.0.0.1:1"})
    assert stack_status(home) == DOWN


def test_commands_beside_a_stack_find_its_settings(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(home=home.path)
    given = layout.environment(settings, "kafka.here:1", "postgres.here:2", {"api": 3, "simulator": 4})
    write_private(home.environment, as_text(given))
    found = current_settings(home=home.path)
    assert (found.kafka, found.postgres, found.api_port) == ("kafka.here:1", "postgres.here:2", 3)
    assert [psp.name for psp in found.psps] == ["northpay", "southpay"]
    monkeypatch.setenv("TALLY_KAFKA", "elsewhere:5")
    assert current_settings(home=home.path).kafka == "elsewhere:5"


@pytest.mark.parametrize(
    ("kafka", "postgres", "named"),
    [("nowhere", None, "--kafka"), (None, "db", "--postgres"), (None, "db:5432", "TALLY_POSTGRES_ADMIN")],
)
def test_a_wrong_address_is_named(home: Home, kafka: str | None, postgres: str | None, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        existing_servers(load_settings(home=home.path), kafka, postgres)


def test_a_postgres_address_says_where_and_who() -> None:
    existing = existing_servers(load_settings(), "a:1,b:2", "postgresql://me:word@db.here/postgres")
    assert (existing.kafka, existing.postgres) == ("a:1,b:2", "db.here:5432")


def test_what_the_stack_starts_may_have_as_many_files_open_as_its_user() -> None:
    """Of a process of its own: whoever has lowered a limit here would have it for all tests."""
    tried = (
        "import resource; _, hard = resource.getrlimit(resource.RLIMIT_NOFILE); "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard)); "
        "from operations.stack.up import FILES_MAX, allow_many_files; allow_many_files(); allow_many_files(); "
        "soft, still = resource.getrlimit(resource.RLIMIT_NOFILE); "
        "most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX); "
        "assert (soft, still) == (most, hard), (soft, still)"
    )
    subprocess.run([sys.executable, "-c", tried], check=True)
