"""Prints docs/reference/cli.md: every command with its options, as --help shows them.

.venv/bin/python tests/docs/cli_reference.py > docs/reference/cli.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from edgeopt_agent.cli import cli as agent
from edgeopt_host.cli import cli as host

_HEAD = """# Commands and options

What `--help` says. Made by `tests/docs/cli_reference.py`, which also says how to make it again;
a test compares.
"""
_WIDTH = 90


def reference() -> str:
    parts = [_HEAD]
    for name, command in (("edgeopt-host", host), ("edgeopt-agent", agent)):
        settings = {**command.context_settings, "terminal_width": _WIDTH}
        for context in _walk(click.Context(command, info_name=name, **settings)):
            text = context.command.get_help(context)
            parts.append(f"## `{context.command_path}`\n\n```\n{text}\n```\n")
    return "\n".join(parts)


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    command = context.command
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from _walk(click.Context(found, info_name=name, parent=context))


if __name__ == "__main__":
    sys.stdout.write(reference())
