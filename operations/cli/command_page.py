"""The `tally` command → docs/commands.md: every command with its options."""

from __future__ import annotations

import sys

import typer
from typer.cli import get_docs_for_click

from operations.cli.main import build, modules_for
from operations.stack.home import CHECKOUT

PAGE = CHECKOUT / "docs" / "commands.md"
HEAD = """# Every command

<!-- Made by `python -m operations.cli.command_page`; do not edit. -->

Exit codes, and what scripts may rely on, are in [cli.md](cli.md).

"""


def page() -> str:
    root = typer.main.get_command(build(modules_for([])))
    context = typer.Context(root, info_name="tally")
    lines = get_docs_for_click(obj=root, ctx=context, name="tally", indent=1).rstrip().split("\n")
    return HEAD + "\n".join(line.rstrip() for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} written", file=sys.stderr)
