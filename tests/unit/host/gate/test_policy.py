from __future__ import annotations

import json
import os
import re
from pathlib import Path

import fastjsonschema
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_host.errors import UsageError
from edgeopt_host.gate import schema, template
from edgeopt_host.gate.policy import Margin, Policy, PolicyError
from edgeopt_host.gate.read import load, read
from edgeopt_host.metrics import METRICS

HEAD = 'schema = "edgeopt.policy/1"\n'
PATH = Path("policy.toml")
NO_MARGIN = 'is no margin: write "3%" or, for accuracy, "0.5pt"'
NEVER = "worse is never reached: write less than 100"
NO_RULE = "there is no [[rule]]: a gate needs one at least"
RULES = "line 2: rule: write each rule as a table of its own, under [[rule]]"
SETTINGS = (
    "error_rate", "budget_s", "absolute_budget_s", "sustained_s", "cooldown_below_c",
    "steady_clock", "batch", "streams", "rate_hz",
)  # fmt: skip
valid_by_schema = fastjsonschema.compile(json.loads(schema.text()))


def policy(text: str) -> Policy:
    return read(HEAD + text, PATH)


def problems(text: str) -> list[str]:
    """Line, key and message of each, of a text whose first line is not HEAD."""
    with pytest.raises(PolicyError) as caught:
        read(text, PATH)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def refused_by_schema(text: str) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        valid_by_schema(tomlkit.parse(text).unwrap())


def rule(lines: str) -> str:
    """A policy of one rule, whose keys begin in line 3."""
    return f"{HEAD}[[rule]]\n{lines}\n"


def test_what_init_writes_is_a_policy() -> None:
    found = read(template.TEXT, PATH)
    assert [r.metric for r in found.rules] == [
        "p50_latency_ms", "p95_latency_ms", "peak_memory_mb", "size_mb",
    ]  # fmt: skip
    assert found == read(template.TEXT.replace("60", "60.0"), PATH)
    valid_by_schema(tomlkit.parse(template.TEXT).unwrap())


def test_what_init_has_in_comments_is_right_too() -> None:
    text = re.sub(r"^# (\w+ = |\[\[rule\]\])", r"\1", template.TEXT, flags=re.MULTILINE)
    found = read(text, PATH)
    assert len(found.rules) == 7
    assert (found.cooldown_below_c, found.steady_clock, found.batch, found.rate_hz) == (
        55, True, 1, 15,
    )  # fmt: skip
    valid_by_schema(tomlkit.parse(text).unwrap())


def test_init_mentions_every_metric() -> None:
    assert [name for name in METRICS if name not in template.TEXT] == []


def test_defaults_are_those_of_the_contract() -> None:
    found = policy('[[rule]]\nmetric = "load_ms"\nmax = 2\n')
    assert (found.error_rate, found.budget_s, found.absolute_budget_s) == (0.05, 60, 180)
    (one,) = found.rules
    assert one.required
    assert one.applies_to("pi4", ["pi"])
    assert one.condition == "max 2 ms"


def test_a_rule_is_for_devices_by_name_or_tag() -> None:
    (one,) = policy(
        '[[rule]]\nmetric = "load_ms"\nmax = 2\ntags = ["pi"]\ndevices = ["nano"]\n'
    ).rules
    assert one.applies_to("pi4", ["lab", "pi"])
    assert one.applies_to("nano", [])
    assert not one.applies_to("phone", ["lab"])


@pytest.mark.parametrize(
    ("text", "margin", "shown"),
    [
        ("3%", Margin(0.03), "3%"),
        ("0%", Margin(0.0), "0%"),
        ("2.5 %", Margin(0.025), "2.5%"),
        ("0.5pt", Margin(0.5, points=True), "0.5pt"),
    ],
)
def test_margins(text: str, margin: Margin, shown: str) -> None:
    metric = "accuracy" if margin.points else "p50_latency_ms"
    (one,) = policy(f'[[rule]]\nmetric = "{metric}"\nmax_regression = "{text}"\n').rules
    assert one.max_regression == margin
    assert one.condition == f"max_regression {shown}"


# What is wrong with the limit of a metric, in the fourth line.
WRONG_LIMITS = [
    ("p95_latency_ms", "max = -1", "-1 is not above 0"),
    ("p95_latency_ms", "max = 0", "0 is not above 0"),
    ("p95_latency_ms", "max = nan", "nan is no finite number"),
    ("p95_latency_ms", "max = -inf", "-inf is no finite number"),
    ("p95_latency_ms", "max = true", "true is no number"),
    ("p95_latency_ms", 'max = "25"', '"25" is no number'),
    ("p95_latency_ms", "min = 25", "of p95_latency_ms, less is better: write max"),
    ("accuracy", "max = 0.9", "of accuracy, more is better: write min"),
    ("accuracy", "min = 97", "97 is more than all: is 0.97 meant? accuracy is 0 to 1"),
    ("accuracy", 'max_regression = "1%"', 'of accuracy, write points: "1pt"'),
    (
        "load_ms",
        'max_regression = "1pt"',
        'points are for accuracy: write a percentage such as "1%"',
    ),
    ("load_ms", "max_regression = 0.03", f"0.03 {NO_MARGIN}"),
    ("load_ms", 'max_regression = "-3%"', f'"-3%" {NO_MARGIN}'),
    ("throughput_per_s", 'max_regression = "100%"', f"100% {NEVER}"),
    ("accuracy", 'max_regression = "100pt"', f"100pt {NEVER}"),
]


@pytest.mark.parametrize(("metric", "limit", "said"), WRONG_LIMITS)
def test_a_limit_that_is_none(metric: str, limit: str, said: str) -> None:
    text = rule(f'metric = "{metric}"\n{limit}')
    key = limit.split(" = ", maxsplit=1)[0]
    assert problems(text) == [f"line 4: rule[1].{key}: {said}"]
    # The schema, too, refuses what it can see. A limit that nothing reaches it cannot.
    if NEVER not in said and "finite" not in said:
        refused_by_schema(text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("error_rate = 0.5", "0.5 is not between 0 and 0.5, such as 0.05 for 5 %"),
        ("error_rate = 0", "0 is not between 0 and 0.5, such as 0.05 for 5 %"),
        ("budget_s = 0", "0 is not from 1 to 86400 seconds"),
        ("budget_s = 1e999", "inf is no finite number"),
        ("steady_clock = 1", "1 is neither true nor false"),
        ("batch = 1.5", "1.5 is no whole number from 1 to 65536"),
        ("streams = true", "true is no whole number from 1 to 64"),
        ("budjet_s = 60", "there is no such key; did you mean budget_s?"),
        ("xyz = 60", f"there is no such key; known are {', '.join(SETTINGS)}"),
    ],
)
def test_a_setting_that_is_none(line: str, said: str) -> None:
    text = f'{HEAD}[gate]\n{line}\n[[rule]]\nmetric = "load_ms"\nmax = 1\n'
    key = line.split(" = ", maxsplit=1)[0]
    assert problems(text) == [f"line 3: gate.{key}: {said}"]
    if "finite" not in said:
        refused_by_schema(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ['write schema = "edgeopt.policy/1" at the top', NO_RULE]),
        (
            'schema = "edgeopt.policy/2"\nrule = []\n',
            [NO_RULE, 'line 1: schema: "edgeopt.policy/2" is not "edgeopt.policy/1"'],
        ),
        (f"{HEAD}rule = 3\n", [RULES]),
        (f'{HEAD}[rule]\nmetric = "load_ms"\n', [RULES]),
        (f"{HEAD}gate = 3\nrule = []\n", [NO_RULE, "line 2: gate: 3 is no table: write [gate]"]),
        ("a = 1\n[b\n", ["line 2: no TOML: Unexpected character: '\\n'"]),
        ("a = 1\n\na = 2\n", ['line 3: no TOML: Key "a" already exists']),
        (f"{HEAD}[gate]\nbatch = 3\nbatch = 4\n", ['line 4: no TOML: Key "batch" already exists']),
        (
            f'{HEAD}[[rule]]\ntags = ["a",\n"b"\nmax = 3\n',
            [
                (
                    "line 3: no TOML: Unexpected character: 'm' in line 5: is what begins here lacking its "
                    "] or its closing quotes?"
                )
            ],
        ),
        (
            f'{HEAD}\n[[rules]]\nmetric = "load_ms"\n',
            [NO_RULE, "line 3: rules: there is no such key; did you mean rule?"],
        ),
        (
            f'{HEAD}{"[[rule]]" + chr(10)}metric = "load_ms"\n' + "[[rule]]\n" * 200,
            ["line 203: rule[201]: there are 201 rules, and a policy has at most 200"],
        ),
        ("a = [1,\n", ["line 1: no TOML: it ends in the middle of a value"]),
    ],
)
def test_a_file_that_is_no_policy(text: str, said: list[str]) -> None:
    assert problems(text) == said


def test_all_is_told_at_once_and_in_the_right_lines() -> None:
    text = (
        '# a comment\nschema = "edgeopt.policy/1"\n\n[[rule]]\nmetric = "p59_latency_ms"\nmax = 3\n'
        '[[rule]] # the second\ntags = [\n  "a", # ]\n  "[[rule]]",\n]\nmax = 1\nmax_regression = "3%"\n'
        '[gate]\nbudjet_s = """\n1\n"""\n[[rule]]\nmetric = "load_ms"\n'
    )
    no_tag = "'[[rule]]' is no tag: use 1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit"
    assert problems(text) == [
        'line 5: rule[1].metric: "p59_latency_ms" is no metric; did you mean p99_latency_ms?',
        f"line 7: rule[2]: a rule needs a metric: one of {', '.join(METRICS)}",
        f"line 8: rule[2].tags: {no_tag}",
        "line 13: rule[2].max_regression: the rule has max already: write a [[rule]] for each",
        "line 15: gate.budjet_s: there is no such key; did you mean budget_s?",
        "line 18: rule[3]: a rule needs a limit: max, min or max_regression",
    ]


def test_two_limits_for_the_same_are_told() -> None:
    one = '[[rule]]\nmetric = "load_ms"\nmax = {}\n'
    pis = 'tags = ["pi", "lab"]\n'
    text = HEAD + one.format(3) + pis + one.format(9) + 'tags = ["lab", "pi"]\n'
    assert problems(text) == [
        "line 6: rule[2]: rule[1] is max of load_ms for the same devices: keep one of them"
    ]
    # Elsewhere, and as an early warning, another is right.
    other = one.format(3) + pis + one.format(9) + one.format(2) + "required = false\n"
    assert len(policy(other).rules) == 3


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "p"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(UsageError, match="it is no regular file"):
        load(path)


def test_rules_may_be_written_inline() -> None:
    text = f'{HEAD}rule = [{{metric = "load_ms", max = 1}},\n {{metric = "load_ms", max = 0}}]\n'
    assert problems(text) == ["line 2: rule[2].max: 0 is not above 0"]


def test_windows_line_ends_and_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    text = rule('metric = "load_ms"\nmax = "1"').replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    with pytest.raises(PolicyError, match=r'p\.toml: line 4: rule\[1\]\.max: "1" is no number'):
        load(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff", "it is no UTF-8 text"), (b"#" * 2**19, "larger than 256 KB")],
)
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        load(tmp_path / "p")


def test_the_schema_knows_the_metrics() -> None:
    properties = json.loads(schema.text())["properties"]["rule"]["items"]["properties"]
    assert properties["metric"]["enum"] == list(METRICS)


_PIECES = (
    "[[rule]]", "[gate]", "[rule.x]", "metric", "=", '"load_ms"', "max", "1", "nan", "[", "]", "{", "}",
    ",", '"""', "'", "#", "\n", "\r", ".", "\u2028", "\x00", "1e400", "9" * 400,
)  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join))
def test_no_text_is_too_strange(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(text, PATH)
    lines = text.count("\n") + 1
    assert all(1 <= (problem.line or 1) <= lines for problem in caught.value.problems)
