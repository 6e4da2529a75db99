"""Checks that the tests which a page names exist: check_named_tests.py PAGE.md TESTS_FOLDER"""
import pathlib
import re
import sys

page, folder = map(pathlib.Path, sys.argv[1:])
text = page.read_text(encoding="utf-8")
named = set(re.findall(r"`([A-Z]\w+\.[A-Z]\w+)`", text)) | set(re.findall(r"`(test_\w+)`", text))

existing = set()
for source in folder.rglob("*.cc"):
    for suite, name in re.findall(r"^(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)",
                                  source.read_text(encoding="utf-8"), re.MULTILINE):
        existing.add(f"{suite}.{name}")
for source in folder.rglob("*.py"):
    existing.update(re.findall(r"^def (test_\w+)", source.read_text(encoding="utf-8"), re.MULTILINE))

missing = sorted(named - existing)
if not named or missing:
    sys.exit(f"{page} names tests that do not exist: {', '.join(missing) or '(it names none)'}")
