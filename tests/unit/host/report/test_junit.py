from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from edgeopt_host.report import junit
from sample_reports import HOSTILE, rule, sample_gate


def parsed(text: str) -> JUnitXml:
    document = JUnitXml.fromstring(text.encode())
    assert isinstance(document, JUnitXml)
    return document


def test_a_rule_is_a_case_and_a_device_a_suite() -> None:
    result = sample_gate("fail")
    result.rules.append(rule("p50_latency_ms", "pass", device="jetson"))
    text = junit.render(result)
    assert text.startswith('<?xml version="1.0" encoding="utf-8"?>\n')
    suites = list(parsed(text))
    assert [suite.name for suite in suites] == ["pi4", "jetson"]
    assert [len(list(suite)) for suite in suites] == [5, 1]
    case = next(iter(suites[0]))
    assert case.name == "p50_latency_ms max_regression 3%"
    assert case.time == pytest.approx(21.4)


@pytest.mark.parametrize(
    ("verdict", "required", "kind"),
    [
        ("pass", True, None),
        ("pass", False, None),
        ("fail", True, Failure),
        ("inconclusive", True, Error),
        ("not_measurable", True, Error),
        ("fail", False, Skipped),
        ("inconclusive", False, Skipped),
        ("not_measurable", False, Skipped),
    ],
)
def test_only_a_pass_of_what_is_required_is_green(
    verdict: str, required: bool, kind: type | None
) -> None:
    result = sample_gate("pass")
    result.rules = [rule("p50_latency_ms", verdict, required=required, reason="it is noisy")]
    document = parsed(junit.render(result))
    (case,) = next(iter(document))
    assert [type(outcome) for outcome in case.result] == ([] if kind is None else [kind])
    if kind is not None:
        assert "it is noisy" in case.result[0].message
    assert document.failures == int(kind is Failure)
    assert document.errors == int(kind is Error)
    assert document.skipped == int(kind is Skipped)


@pytest.mark.parametrize("name", [HOSTILE, "\x00\ufffe\udcff]]>", "a\tb\nc"])
def test_no_name_breaks_the_document(name: str) -> None:
    result = sample_gate("inconclusive", "a.tflite")
    result.candidate = name
    result.rules = [rule("p50_latency_ms", "inconclusive", device=name, reason=name, advice=name)]
    root = ET.fromstring(junit.render(result).encode())  # noqa: S314 - made here
    assert root.find("testsuite/testcase/error") is not None
    assert root.find("script") is None


def test_figures_have_their_unit_and_interval() -> None:
    text = junit.render(sample_gate("inconclusive"))
    assert "p95_latency_ms on pi4 is 5.50 ms [5.40 ms to 5.62 ms]; the limit is 6.00 ms" in text
    assert "is 2.5 % below the baseline's [-4.0 % to -1.0 %]; the limit is -3.0 %" in text
