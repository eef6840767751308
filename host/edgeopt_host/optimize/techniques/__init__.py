"""Techniques: one module for each family and framework; a new one is a module and a line here."""

# In any order; registry.py sorts what they hold.
MODULES = (
    "onnx_tidy",
    "onnx_tflite",
    "onnx_mixed",
    "onnx_int4",
    "onnx_float16",
    "onnx_convert",
    "onnx_dynamic",
    "onnx_static",
    "tflite_convert",
    "tflite_tf",
    "tflite_mixed",
    "tflite_litert",
    "torch_convert",
    "torch_mixed",
    "torch_pte",
    "torch_quantize",
)
