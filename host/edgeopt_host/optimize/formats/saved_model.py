"""SavedModels of TensorFlow, whatever made them: run through the signature for serving."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgeopt_host.errors import EdgeoptError, ModelFileError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code, _tensorflow
from edgeopt_host.optimize.formats.description import Description, Weights, ordered
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Model

SERVING = "serving_default"


def load(model: Model) -> tuple[Any, Any]:
    """The loaded object, which must be kept, and its concrete function for serving.

    Raises:
        EdgeoptError: MODEL_INVALID.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(model.path))
    except Exception as error:
        raise ModelFileError(
            f"TensorFlow cannot load {model.name}: {_code.brief(error)}"
        ) from error
    signatures = dict(loaded.signatures)
    if SERVING in signatures:
        return loaded, signatures[SERVING]
    if len(signatures) == 1:
        return loaded, next(iter(signatures.values()))
    seen = f"the signatures {', '.join(sorted(signatures))}" if signatures else "no signature"
    raise EdgeoptError(
        f"{model.name} has {seen}, where {SERVING} was expected: save it with "
        "tf.saved_model.save(model, FOLDER, signatures=function)",
        "MODEL_UNSUPPORTED",
    )


def runner(model: Model, threads: int) -> Runner:
    _tensorflow.use_threads(threads)
    return _tensorflow.Running(_called(model), model.name)


def describe(model: Model, example: Examples | None) -> Description:
    import tensorflow as tf

    called = _called(model)
    graph = _tensorflow.frozen(called.function).graph
    weights = Weights.of(_tensorflow.constants(graph))
    names = Counter(one.type for one in graph.get_operations())
    for plain in ("Const", "Identity", "NoOp", "Placeholder"):
        del names[plain]
    return Description(
        inputs=called.signature.inputs,
        outputs=called.signature.outputs,
        parameters=weights.parameters,
        macs=_tensorflow.macs(called, example),
        weight_bytes=weights.stored_bytes,
        dtypes=weights.dtypes,
        operators=ordered(names),
        framework=f"tensorflow {tf.__version__}",
    )


def _called(model: Model) -> _tensorflow.Called:
    loaded, function = load(model)
    return _tensorflow.of_signature(loaded, function)
