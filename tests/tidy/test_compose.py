"""docker-compose.yml, Dockerfile, runtime.lock ← catalogue, settings and pyproject: the image runs each room, and no more."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.runtime_dependencies import LOCAL_STACK, runtime_dependencies
from operations.cli.commands.run import NAMES
from operations.stack.host import STREAMS
from operations.stack.settings import AllSettings
from tests.stack.wheels import normal
from tests.tidy.reading import text
from tests.tidy.test_docs import exists
from topics.catalog import CONSUMERS

COMPOSE: dict[str, Any] = yaml.safe_load(text(Path("docker-compose.yml")))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "tallystick"}
ROOMS = {name: service for name, service in OURS.items() if service["command"][0] == "run"}
ONCE = {"migrate", "topics"}


def locked(path: str) -> dict[str, list[str]]:
    """Package → its line with version and marker, and its hashes."""
    blocks = re.split(r"\n(?=\S)", text(Path(path)))
    parts = [[line.strip(" \\") for line in block.splitlines()] for block in blocks if "==" in block]
    return {re.split(r"[=\[]", lines[0])[0]: lines for lines in parts}


def needed(requirements: list[str]) -> set[str]:
    """Packages that these ask for, and those that they ask for in turn, as installed here."""
    found: set[str] = set()
    asked = [re.split(r"[^\w.-]", line)[0] for line in requirements if "extra ==" not in line]
    while asked:
        name = normal(asked.pop())
        if name in found:
            continue
        try:
            of_it = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another system
            continue
        found.add(name)
        asked += [re.split(r"[^\w.-]", line)[0] for line in of_it if "extra ==" not in line and ";" not in line]
    return found


def test_each_room_and_the_api_is_a_service_of_its_own() -> None:
    assert set(NAMES) == {"api", *STREAMS, *(room.name for room in CONSUMERS)}
    assert sorted(service["command"][1:] for service in ROOMS.values()) == sorted([name] for name in NAMES)
    assert set(ROOMS) == set(NAMES)
    assert set(OURS) == set(NAMES) | ONCE | {"simulator"}


def test_services_say_commands_that_exist() -> None:
    assert [
        name for name, service in OURS.items() if "entrypoint" not in service and not exists(service["command"])
    ] == []


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_starts_once_what_it_needs_is_healthy_or_done(name: str) -> None:
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        done = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert wanted["condition"] == done
        assert other in SERVICES
    if name in ROOMS:
        assert set(SERVICES[name]["depends_on"]) == {"kafka", "postgres", *ONCE}


def test_who_goes_on_running_is_asked_whether_it_is_well() -> None:
    by_image = "HEALTHCHECK" in text(Path("deploy/Dockerfile"))
    for name, service in SERVICES.items():
        asked = service.get("healthcheck", {"test": by_image and name in OURS})
        assert bool(asked.get("test")) != (name in ONCE), name


def test_secrets_come_from_files_and_each_service_has_those_that_it_needs() -> None:
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    has = {name: set(service.get("secrets", ())) for name, service in SERVICES.items()}
    assert {name for name, secrets in has.items() if "TALLY_POSTGRES_ADMIN" in secrets} == {"migrate"}
    assert {name for name, secrets in has.items() if "TALLY_PSPS" in secrets} == {"api", "executor"}
    assert {name for name, secrets in has.items() if "TALLY_PAYOUT_PROVIDERS" in secrets} == {
        "api",
        "executor",
        "payouts",
    }
    assert {name for name, secrets in has.items() if "TALLY_SECRET" in secrets} == {*NAMES, "migrate"}
    assert set().union(*has.values()) == set(COMPOSE["secrets"])


def test_no_secret_is_written_into_the_file() -> None:
    given = {
        name: str(value) for service in SERVICES.values() for name, value in service.get("environment", {}).items()
    }
    secret = [name for name in given if re.search("PASSWORD|SECRET|KEY|PSPS|ADMIN", name)]
    assert {name: given[name] for name in secret if "/run/secrets" not in given[name]} == {}


def test_what_services_are_given_are_settings() -> None:
    known = {f"TALLY_{name.upper()}" for name in AllSettings.model_fields}
    named = {
        name for service in OURS.values() for name in (*service.get("environment", ()), *service.get("secrets", ()))
    }
    assert {name for name in named if name.startswith("TALLY_")} <= known


# ── what is in the image ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_runtime_lock_is_a_part_of_the_lock() -> None:
    everything, runtime = locked("requirements.lock"), locked("deploy/runtime.lock")
    assert {name: lines for name, lines in runtime.items() if everything[name] != lines} == {}


def test_the_runtime_lock_holds_what_the_rooms_need_and_no_server_and_no_tool() -> None:
    runtime, project = set(locked("deploy/runtime.lock")), tomllib.loads(text(Path("pyproject.toml")))["project"]
    assert needed(runtime_dependencies()) | {"psycopg-binary"} <= runtime
    tools = {normal(re.split(r"[\[<>=]", line)[0]) for line in project["optional-dependencies"]["dev"]}
    assert runtime & (LOCAL_STACK | tools | {"pip", "setuptools", "uv"}) == set()


def test_only_what_the_local_stack_starts_is_left_out() -> None:
    project = tomllib.loads(text(Path("pyproject.toml")))["project"]
    left = {re.split(r"[\[<>=]", line)[0] for line in set(project["dependencies"]) - set(runtime_dependencies())}
    assert left == LOCAL_STACK
