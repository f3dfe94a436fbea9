"""`tally bench letters` replays dead letters through an interruption, and prints nothing but JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from operations.stack.servers import Servers
from tests.conftest import SECRET


def test_an_interrupted_replay_is_resumed_and_doubles_nothing(servers: Servers, template: str, tmp_path: Path) -> None:
    own = {
        "TALLY_HOME": str(tmp_path),
        "TALLY_KAFKA": servers.kafka,
        "TALLY_POSTGRES": servers.postgres,
        "TALLY_POSTGRES_ADMIN": servers.postgres_admin,
        "TALLY_SECRET": SECRET,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    command = [sys.executable, "-c", "from operations.cli.main import main; main()", "bench", "letters", "--json"]
    done = subprocess.run(
        [*command, "--letters", "200", "--rate", "200"],
        check=False,
        env=inherited | own,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["doubles"], figures["lost"], figures["letters"]) == (0, 0, 200)
    assert figures["exit_codes"] == [130, 0]
    assert 0 < figures["left_when_interrupted"] < 200
