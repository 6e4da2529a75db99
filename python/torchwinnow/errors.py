"""The exceptions of file functions. Each has a `code`, the stable name of the error: "HeaderSyntax", ...

| code                                   | exception                                                 |
|----------------------------------------|-----------------------------------------------------------|
| InvalidArgument, UnavailableLevel,     | ValueError                                                |
| LeftAlone                              |                                                           |
| UnknownTensor                          | UnknownTensorError, a KeyError                            |
| AlreadyExists, SameFile, NamedByHash   | FileExistsError                                           |
| CheckFailed                            | VerificationError, a WinnowError                          |
| IoError                                | OSError: FileNotFoundError, PermissionError, ... by errno |
| NotDurable, InputChanged, Busy,        | OSError                                                   |
| UnsupportedFile                        |                                                           |
| OutOfMemory                            | MemoryError                                               |
| NanValue, BadSettings, OtherRule, and  | WinnowError, a ValueError                                 |
| each way in which a file can be        |                                                           |
| malformed                              |                                                           |

An interrupted call raises what the signal handler raises: KeyboardInterrupt for Ctrl-C.
"""

from __future__ import annotations

import errno


class WinnowError(ValueError):
    """A file cannot be processed: it is malformed, or contains values that are not accepted."""

    code: str = ""


class VerificationError(WinnowError):
    """verify_file found a difference. The message names the tensor and the value."""


class UnknownTensorError(KeyError):
    """A pattern matches no tensor. The message names the nearest ones."""

    code: str = "UnknownTensor"

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote the message like a key


_KINDS: dict[str, type[Exception]] = {
    "InvalidArgument": ValueError,
    "UnavailableLevel": ValueError,
    "LeftAlone": ValueError,
    "UnknownTensor": UnknownTensorError,
    "CheckFailed": VerificationError,
    "OutOfMemory": MemoryError,
}
_SYSTEM = {
    "AlreadyExists": errno.EEXIST,
    "SameFile": errno.EEXIST,
    "NamedByHash": errno.EEXIST,
    "Busy": errno.EBUSY,
    "IoError": 0,
    "NotDurable": 0,
    "InputChanged": 0,
    "UnsupportedFile": 0,
}
_HINTS = {
    "AlreadyExists": " (overwrite=True replaces it)",
    "SameFile": " (overwrite=True replaces it)",
    "NamedByHash": " (overwrite=True, overwrite_blob=True replaces it all the same)",
    "LeftAlone": " (force prunes it all the same)",
    "OtherRule": " (verify it with the winnow that winnow.version names)",
    "NanValue": " (nan='keep' ranks NaN last)",
}


def from_status(code: str, message: str, system_error: int) -> Exception:
    """Returns the exception for an error of the C++ library; `system_error` is its errno, or 0."""
    message += _HINTS.get(code, "")
    error: Exception
    if code in _SYSTEM:
        number = system_error or _SYSTEM[code]
        error = OSError(number, message) if number else OSError(message)
    else:
        error = _KINDS.get(code, WinnowError)(message)
    error.code = code  # type: ignore[attr-defined]
    return error
