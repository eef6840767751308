"""The file that keeps an enrolment token's tries, when somebody else wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeopt_agent.errors import Unauthenticated
from edgeopt_agent.identity.enrollment import TRIES, Token


@pytest.mark.parametrize("tries", [10**9, 2**70, TRIES + 1])
def test_no_file_gives_more_tries_than_a_token_has(tmp_path: Path, tries: int) -> None:
    text = Token(tmp_path, "key").text
    file = tmp_path / "enrollment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tries_left": tries}))
    token = Token(tmp_path, "key")
    assert token.text == text
    for _ in range(TRIES):
        with pytest.raises(Unauthenticated):
            token.check("wrong")
    with pytest.raises(Unauthenticated, match="used up"):
        token.check(text)
