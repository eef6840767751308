"""What stands in a TFLite file: its operators, and which of them compute in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError, UsageError

# They only pass on, or tell, what others compute.
_PASSIVE = {"QUANTIZE", "DEQUANTIZE", "SHAPE", "RANK"}
# Operators whose weights are quantized, with or without their activations.
WEIGHTED = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV",
    "FULLY_CONNECTED",
    "BATCH_MATMUL",
    "EMBEDDING_LOOKUP",
)
# The schema's versions of operators with int8 weights, a scale for each channel, and float
# activations (tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc).
_HYBRID_VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 12}
# Of those with 4-bit weights, versions that no runtime has which computes them wrongly: tflite-runtime
# 2.14 has CONV_2D up to 7 and FULLY_CONNECTED up to 11.
_INT4_VERSIONS = {"CONV_2D": 8, "FULLY_CONNECTED": 12}
_SHOWN = 5
_INTEGERS = {"INT4", "INT8", "UINT8"}


@dataclass(frozen=True)
class Operator:
    """One operator of the graph.

    Attributes:
        kind: as the schema calls it, such as "CONV_2D".
        name: of its outputs; fused operators have several, with ";" between.
        weights: values in its largest constant input that is no index: its kernel or matrix.
        width: how many of them are in a row, along the last axis.
        stored: the type of these: "FLOAT32", "INT8", "INT4"; "" when it has none.
        widened: whether an operator before it makes float32 of these.
        in_float: whether it takes or gives float32 tensors.
        in_integers: whether it takes or gives quantized tensors that are no constants.
    """

    kind: str
    name: str
    weights: int
    width: int
    stored: str
    widened: bool
    in_float: bool
    in_integers: bool

    def matches(self, pattern: str) -> bool:
        """Whether a glob pattern fits its name, or one of its names."""
        return any(fnmatchcase(one, pattern) for one in (self.name, *self.name.split(";")))

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name.split(';')[0]}"


def operators(content: bytes) -> list[Operator]:
    """Those of all subgraphs, in order.

    Raises:
        EdgeoptError: MODEL_INVALID when it is no TFLite file.
    """
    model = _read(content)
    kinds = _kinds(model)
    found = []
    for subgraph in model.subgraphs:
        inside = subgraph.operators or []
        # Weights that are dequantized before they are used, as float16 ones always are.
        widened = {
            one.outputs[0]: one.inputs[0]
            for one in inside
            if kinds[one.opcodeIndex] == "DEQUANTIZE" and _constant(model, subgraph, one.inputs[0])
        }
        found += [
            _operator(model, subgraph, widened, one, kinds[one.opcodeIndex]) for one in inside
        ]
    return found


def float_operators(found: Iterable[Operator]) -> list[Operator]:
    """Operators that compute in float32, whole or in part."""
    return [one for one in found if one.in_float and one.kind not in _PASSIVE]


def float_weights(found: Iterable[Operator]) -> list[Operator]:
    """Operators whose weights are stored in float32."""
    return [one for one in found if one.kind in WEIGHTED and one.stored == "FLOAT32"]


def hybrid(found: Iterable[Operator]) -> list[Operator]:
    """Operators with integer weights that take and give float32."""
    return [
        one
        for one in found
        if one.in_float
        and not one.in_integers
        and one.stored in _INTEGERS
        and one.kind not in _PASSIVE
    ]


def counted(found: Iterable[Operator]) -> str:
    """Kinds and how many of each, for messages."""
    counts = Counter(one.kind for one in found)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def chosen(
    found: Sequence[Operator],
    *,
    layers: Sequence[str] = (),
    operators: Sequence[str] = (),
    keep_float: Sequence[str] = (),
) -> tuple[list[Operator], list[Operator]]:
    """Operators to quantize, and the others.

    Args:
        found: what there is to choose of.
        layers: only those whose names fit one of these patterns; empty for all.
        operators: only those of these kinds; empty for all.
        keep_float: not those whose names fit one of these.

    Raises:
        UsageError: for a pattern or kind that fits none.
    """
    kinds = {one.kind for one in found}
    if unknown := [kind for kind in operators if kind not in kinds]:
        raise UsageError(
            f"operators has {unknown[0]}, which the model has not; it has {', '.join(sorted(kinds))}"
        )
    for pattern in (*layers, *keep_float):
        if not any(one.matches(pattern) for one in found):
            names = ", ".join(one.name.split(";")[0] for one in found[:_SHOWN])
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise UsageError(f"no layer is called {pattern!r}; there are {names}{more}")
    picked = [
        one
        for one in found
        if (not operators or one.kind in operators)
        and (not layers or any(one.matches(pattern) for pattern in layers))
        and not any(one.matches(pattern) for pattern in keep_float)
    ]
    if not picked:
        raise UsageError("operators, layers and keep_float leave nothing to quantize; choose less")
    return picked, [one for one in found if one not in picked]


def check_float(content: bytes, name: str) -> list[Operator]:
    """Operators of a model that is to be quantized.

    Raises:
        EdgeoptError: MODEL_UNSUPPORTED when it is quantized already.
    """
    found = operators(content)
    done = [one for one in found if one.in_integers or one.stored in _INTEGERS]
    if done:
        raise EdgeoptError(
            f"{name} is quantized already ({counted(done)}): give the float model it was made of",
            "MODEL_UNSUPPORTED",
        )
    if any(one.stored == "FLOAT16" and one.kind in WEIGHTED for one in found):
        raise EdgeoptError(
            f"{name} stores its weights as float16 already: give the float32 model it was made of",
            "MODEL_UNSUPPORTED",
        )
    return found


def settle(content: bytes, target: Path) -> None:
    """Writes a model that LiteRT loads.

    Raises:
        EdgeoptError: UNSUPPORTED_OPERATOR when it does not; nothing is written.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content, num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise EdgeoptError(
            f"LiteRT cannot run what came out ({why}): keep the operators it names in float "
            "(keep_float), or choose another quantization",
            "UNSUPPORTED_OPERATOR",
        ) from error
    target.write_bytes(content)


def with_signature(content: bytes) -> bytes:
    """The same model with a signature named "serving_default", if it has none.

    Calibration goes by signatures, which files of older converters do not have.
    """
    from ai_edge_litert.tools import flatbuffer_utils as flat

    model = _read(content)
    if model.signatureDefs:
        return content
    graph = model.subgraphs[0]
    signature = flat.schema_fb.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_mapped(flat, graph, index) for index in graph.inputs]
    signature.outputs = [_mapped(flat, graph, index) for index in graph.outputs]
    model.signatureDefs = [signature]
    return bytes(flat.convert_object_to_bytearray(model))


def with_versions(content: bytes) -> bytes:
    """The same model, with the versions that its operators need.

    litert-quantizer leaves them at 1, and tflite-runtime 2.14, which does not know 4-bit weights, nor
    scales for each channel beside float activations, then computes nonsense where it would refuse.
    """
    from ai_edge_litert.tools import flatbuffer_utils as flat

    found = operators(content)
    wanted = {one.kind: _HYBRID_VERSIONS.get(one.kind, 1) for one in hybrid(found)}
    wanted |= {
        one.kind: _INT4_VERSIONS.get(one.kind, 1)
        for one in found
        if one.stored == "INT4" and not one.widened
    }
    model = _read(content)
    changed = False
    for kind, code in zip(_kinds(model), model.operatorCodes, strict=True):
        if code.version < wanted.get(kind, 1):
            code.version = wanted[kind]
            changed = True
    return bytes(flat.convert_object_to_bytearray(model)) if changed else content


def _mapped(flat: Any, graph: Any, index: int) -> Any:
    one = flat.schema_fb.TensorMapT()
    one.name, one.tensorIndex = graph.tensors[index].name, index
    return one


def _read(content: bytes) -> Any:
    from ai_edge_litert.tools import flatbuffer_utils as flat

    try:
        return flat.read_model_from_bytearray(bytearray(content))
    except Exception as error:  # flatbuffers raise what they stumble over
        raise EdgeoptError(
            f"this is no whole TFLite file ({type(error).__name__})", "MODEL_INVALID"
        ) from error


def _kinds(model: Any) -> list[str]:
    from ai_edge_litert.tools import flatbuffer_utils as flat

    return [flat.opcode_to_name(model, at) or "CUSTOM" for at in range(len(model.operatorCodes))]


def _constant(model: Any, subgraph: Any, index: int) -> bool:
    data = model.buffers[subgraph.tensors[index].buffer].data
    return data is not None and len(data) > 0


def _operator(
    model: Any, subgraph: Any, widened: Mapping[int, int], operator: Any, kind: str
) -> Operator:
    from ai_edge_litert.tools import flatbuffer_utils as flat

    types = {
        value: name for name, value in vars(flat.TensorType).items() if not name.startswith("_")
    }
    weights, width, stored, widening, seen = 0, 0, "", False, set()
    for index in [*operator.inputs, *operator.outputs]:
        if index < 0:
            continue
        tensor = subgraph.tensors[widened.get(index, index)]
        type_ = types[tensor.type]
        if not _constant(model, subgraph, widened.get(index, index)):
            scaled = tensor.quantization is not None and tensor.quantization.scale is not None
            seen.add(type_ if type_ == "FLOAT32" else "quantized" if scaled else "")
            continue
        shape = [int(extent) for extent in (tensor.shape if tensor.shape is not None else ())]
        size = prod(shape)
        if type_ not in {"INT32", "INT64", "BOOL"} and size > weights:
            weights, width = size, shape[-1] if shape else 1
            stored, widening = type_, index in widened
    outputs = [index for index in operator.outputs if index >= 0]
    named = outputs or [index for index in operator.inputs if index >= 0]
    names = [subgraph.tensors[index].name for index in named]
    return Operator(
        kind,
        ";".join(name.decode() for name in names if name),
        weights,
        width,
        stored,
        widening,
        "FLOAT32" in seen,
        "quantized" in seen,
    )
