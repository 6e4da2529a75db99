"""Makes a GoogleTest source of the C++ blocks of a page: extract_snippets.py PAGE.md OUT.cc

Each "## Section" of the page is one test, whose body is its ```cpp blocks in their order, so later
blocks see what earlier ones declared. Blocks before the first section stand outside of functions, for
all sections. Lines that begin with #include go to the top of the file.
Messages of the compiler name the page and its line.
"""
import pathlib
import re
import sys

PROLOGUE = """// Made by tests/docs/extract_snippets.py from {page}. Do not edit.
#undef NDEBUG
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cassert>
"""


def camel_case(text):
    return "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", text))


def sections_of(lines):
    """(title, [(number, line), ...]) of every section that has code, and the includes."""
    title, sections, includes, in_code = None, {}, [], False
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            in_code = not in_code and line.strip() == "```cpp"
        elif in_code and line.startswith("#include"):
            includes.append(line)
        elif in_code:
            sections.setdefault(title, []).append((number, line))
        elif line.startswith("## "):
            title = line[3:]
    return sections, includes


def numbered(lines, page):
    """The lines, with #line where their numbers do not follow each other."""
    text, previous = [], None
    for number, line in lines:
        if previous is None or number != previous + 1:
            text.append(f'#line {number} "{page}"')
        text.append(line)
        previous = number
    return text


def main():
    page, out = map(pathlib.Path, sys.argv[1:])
    sections, includes = sections_of(page.read_text(encoding="utf-8").splitlines())
    if not sections:
        sys.exit(f"{page}: no C++")
    text = [PROLOGUE.format(page=page.name), *includes, "", "namespace {"]
    text += numbered(sections.pop(None, []), page)
    for title, lines in sections.items():
        text.append(f"\nTEST(Docs{camel_case(page.stem)}, {camel_case(title)}) {{")
        text += numbered(lines, page) + ["}"]
    out.write_text("\n".join([*text, "", "}  // namespace", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
