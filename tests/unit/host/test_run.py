from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_host.run import Run
from sample_runs import failed_run, whole_run


def test_a_document_is_the_run_without_what_it_was_computed_from() -> None:
    run = whole_run()
    document = run.document()
    for name in ("launches", "channels", "channel_facts", "power", "correct"):
        assert name not in document
    run.launches, run.power, run.correct = [], None, None
    run.channels, run.channel_facts = {}, {}
    assert Run.from_document(document) == run
    assert Run.from_document(json.loads(json.dumps(document))) == run


def test_every_key_is_there() -> None:
    whole, failed = whole_run().document(), failed_run().document()
    assert list(whole) == list(failed)
    for key in ("latency_ms", "memory", "energy", "state", "shape", "runtime", "device"):
        assert list(whole[key]) == list(failed[key])


def test_keys_of_a_later_release_are_left_out() -> None:
    document = whole_run().document()
    document["later"] = document["model"]["later"] = 1
    assert Run.from_document(document).document() == whole_run(id=document["id"]).document()


def test_a_document_is_strict() -> None:
    run = whole_run(load_ms=math.inf, accuracy={"top1": np.float32("nan"), "n": np.int64(3)})
    run.latency_ms.p50_ci95 = [math.nan, 1.0]
    run.model.name = "f\udcff.tflite"
    run.labels["k\ud800"] = "v"
    text = json.dumps(run.document(), allow_nan=False, ensure_ascii=False).encode()
    document = json.loads(text)
    assert document["load_ms"] is None
    assert document["accuracy"] == {"top1": None, "n": 3}
    assert document["latency_ms"]["p50_ci95"] == [None, 1.0]
    assert document["model"]["name"] == "f\\udcff.tflite"
    assert document["labels"]["k\\ud800"] == "v"


@given(
    st.floats(),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.text(st.characters(codec=None, categories=None)),
)
def test_any_run_is_strict_json(number: float, labels: dict[str, str], text: str) -> None:
    run = whole_run(throughput_per_s=number, labels=labels, command=text)
    json.dumps(run.document(), allow_nan=False, ensure_ascii=False).encode()
