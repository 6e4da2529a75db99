"""Runs the built tool."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WINNOW_BUILD_DIR", ROOT / "build-dev"))
WINNOW = BUILD / "cli" / "winnow"


def winnow(*args, **kwargs):
    """The finished process: returncode, and stdout and stderr as text."""
    environment = dict(os.environ, **kwargs.pop("env", {}))
    return subprocess.run([str(WINNOW), *map(str, args)], capture_output=True, env=environment,
                          text=True, errors="surrogateescape", timeout=120, **kwargs)


def run(*args, **kwargs):
    """As winnow, where nothing may go wrong."""
    done = winnow(*args, **kwargs)
    assert done.returncode == 0, done.stderr
    return done


def report(*args, **kwargs):
    """The object that --json prints."""
    return json.loads(run(*args, "--json", **kwargs).stdout)


def fails(code, *args, **kwargs):
    """The message of a run that must fail with `code`: exactly one line on stderr."""
    done = winnow(*args, **kwargs)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stderr.startswith("winnow: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()
