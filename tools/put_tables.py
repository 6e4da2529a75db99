"""Puts the tables that a program printed into a page, between its two marks.

usage: put_tables.py PAGE TABLES
"""
import sys
from pathlib import Path

BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"



def put_tables(page, tables):
    """Replaces what lies between the marks of the file `page` by the text `tables`."""
    head, begin, rest = page.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{page} has no place for tables: {BEGIN.strip()} and {END.strip()} are missing")
    page.write_text(head + begin + "\n" + tables + "\n" + end + tail)


if __name__ == "__main__":
    put_tables(Path(sys.argv[1]), Path(sys.argv[2]).read_text())
