"""Arguments that are no text: the shell hands on any bytes, and only files may be called so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class _Check:
    """A parameter's callback that refuses what is no UTF-8, before the one that it had."""

    def __init__(self, then: Callable[..., Any] | None) -> None:
        self._then = then

    def __call__(self, ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            "".join(_texts(value)).encode()
        except UnicodeEncodeError:
            raise click.BadParameter("it is no UTF-8 text", ctx, param) from None
        return value if self._then is None else self._then(ctx, param, value)


def check(command: click.Command) -> click.Command:
    """Has all parameters of a command, and of the commands below it, but files checked."""
    for param in command.params:
        if not isinstance(param.type, click.Path) and not isinstance(param.callback, _Check):
            param.callback = _Check(param.callback)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            check(below)
    return command


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for part in value for text in _texts(part)] if isinstance(value, tuple) else []
