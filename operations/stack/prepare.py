"""Empty servers → roles, tables, topics and the demo key. Run once before the rooms; changes only what is missing."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from operations.stack.home import Home, write_private
from operations.stack.settings import AllSettings, load_settings
from topics.settings import Settings


def prepare(settings: AllSettings, partitions: int) -> None:
    from topics.runtime.making.migrate import migrate
    from topics.runtime.making.topics import Repartitioned, apply_topics

    try:
        done = [*migrate(settings, settings.postgres_admin), *apply_topics(settings, partitions)]
    except Repartitioned as error:  # the rooms go on with the existing topics, and report it
        done = [*error.done, str(error)]
    for line in done:
        print(line, flush=True)
    ensure_demo_key(settings)
    ensure_demo_list(settings)


def ensure_demo_key(settings: Settings) -> None:
    """Make a key where there is none that this database knows. A newcomer is upstream service and operator in one."""
    from producers.keys import DEMO_SCOPES, create_key, list_keys

    file = Home(settings.home).api_key
    kept = file.read_text(encoding="utf-8") if file.exists() else ""
    if not any(f"_{key.key_id}_" in kept for key in list_keys(settings) if key.revoked_at is None):
        write_private(file, create_key(settings, owner="demo", scopes=DEMO_SCOPES) + "\n")
        print("demo key made", flush=True)


def ensure_demo_list(settings: AllSettings) -> None:
    """Write the simulated authority's list of names where risk's setting expects it."""
    file = Home(settings.home).demo_list
    if file in settings.risk_lists and not file.exists():
        subprocess.run([sys.executable, "-m", "simulator.lists", str(file)], check=True)
        print("demo list of names made", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m operations.stack.prepare", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--partitions", type=int, required=True, help="of new topics, where no setting says")
    given = parser.parse_args()
    prepare(load_settings(home=given.home), given.partitions)


if __name__ == "__main__":
    main()
