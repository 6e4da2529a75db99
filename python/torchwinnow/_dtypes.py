"""PRIVATE. The dtypes of safetensors and what torch and NumPy call them. Imports neither of the two."""

from __future__ import annotations

NUMPY_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
# Those that torch has, and ml_dtypes adds to NumPy.
ADDED_NAMES = {
    "BF16": "bfloat16",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
ALL_NAMES = {**NUMPY_NAMES, **ADDED_NAMES}
CODE_OF = {name: code for code, name in ALL_NAMES.items()}  # "float32": "F32", ...
