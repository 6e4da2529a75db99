"""./dev bench: every table of docs/benchmarks*.md, and with --check every bar.

usage: run.py [--check] [--quick | --full] [--only core | torch | python | files] [--write FILE]
  --check   end with status 1 if a bar is missed
  --quick   upstream less often, and fewer cases of the larger sizes (some 6 minutes)
  --full    upstream for every case at 64 million values too (some 50 minutes)
  --only core   masks and files alone; --only torch: the torch layer; --only python: the Python package;
            --only files: compressed tensors beside other codecs, and compressed files
  --write   also put the report between the marks of FILE, a Markdown page, and single figures, if the
            sections have them, into a .csv beside it
"""
import argparse
import csv
import datetime
import os
import platform
import sys
from pathlib import Path

import torch

import files
import masks
import python_package
import torch_state
import torch_step
import torch_training
from winnow_bench import Library

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from put_tables import put_tables  # noqa: E402


class Report:
    """Prints as it goes and keeps what docs/benchmarks.md shows."""

    def __init__(self):
        self.lines, self.missed, self.bars, self.rows = [], [], 0, []

    def say(self, line=""):
        print(line, flush=True)
        self.lines.append(line)

    def row(self, **cells):
        """A line of the CSV file. All have the same columns."""
        self.rows.append(cells)

    def write(self, page):
        made = "`./dev bench " + " ".join(sys.argv[1:]) + "` made what follows.\n\n"
        put_tables(page, made + "\n".join(self.lines) + "\n")
        if not self.rows:
            return
        with open(page.with_suffix(".csv"), "w", newline="") as out:
            writer = csv.DictWriter(out, self.rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def heading(self, title, columns=None):
        self.say(f"\n## {title}\n")
        if columns:
            self.say("| " + " | ".join(columns) + " |")
            self.say("|" + " --- |" * len(columns))

    def judge(self, what, value, bar, at_least=False):
        self.bars += 1
        met = value >= bar if at_least else value <= bar
        if not met:
            self.missed.append(f"{what}: {value:.2f}, bar {bar:g}")
        return "met" if met else "MISSED"

    def mask(self, size, kind, case, best, count, upstream_bar, floor_bar):
        floor = masks.floor_of(best)
        what = f"{size} {kind} {case}"
        cells = [size, kind, case, f"{floor / count * 1e9:.3f}", f"{best['ours'] / count * 1e9:.3f}",
                 f"{4e-9 * count / best['ours']:.1f}"]
        over = best["ours"] / floor
        verdict = self.judge(f"{what}, times the floor", over, floor_bar) if floor_bar else ""
        cells.append(f"{over:.2f} {verdict}".strip())
        if "upstream" in best:
            faster = best["upstream"] / best["ours"]
            verdict = self.judge(f"{what}, times upstream", faster, upstream_bar, at_least=True)
            cells += [f"{best['upstream'] / count * 1e9:.1f}", f"{faster:.0f} {verdict}"]
        else:
            cells += ["", ""]
        self.say("| " + " | ".join(cells) + " |")

    def ratio(self, what, value, bar, at_least=False):
        shown, verdict = "", ""
        if bar is not None:
            shown = f"at least {bar:g}" if at_least else f"{bar:g}"
            verdict = self.judge(what, value, bar, at_least)
        self.say(f"| {what} | {value:.2f} | {shown} | {verdict} |")

    def at_least(self, what, value, bar):
        self.ratio(what, value, bar, at_least=True)

    def bar(self, what, value, bar):
        self.say(f"{what}: {value:.2f}, bar {bar:.2f}: {self.judge(what, value, bar)}")


def machine(library):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line),
                 platform.processor())
    return (f"{model}, {os.cpu_count()} cores, SIMD level {library.simd_level()}, "
            f"torch {torch.__version__}, {datetime.date.today()}")


MASK_COLUMNS = ["values", "data", "block, level, norm", "floor ns", "ours ns", "GB/s read",
                "times the floor", "upstream ns", "times upstream"]
RATIO_COLUMNS = ["case", "ratio", "bar", ""]


def run_torch(report, library, _quick, _full):
    report.heading("The torch layer", RATIO_COLUMNS)
    path = ROOT / "build-bench/bench/libwinnow_torch_bench.so"
    torch_library = torch_step.TorchLibrary(path)
    torch_step.tables(library, torch_library, report)
    torch_state.tables(torch_library, ROOT / ".cache/bench", report)
    torch_training.tables(torch_library, ROOT / ".cache/movielens", report)


def run_python(report, _library, _quick, _full):
    report.heading("The Python package", RATIO_COLUMNS)
    python_package.tables(report)


def run_core(report, library, quick, full):
    sizes = list(masks.SIZES)
    masks.set_effort(quick, full)
    report.heading("Masks of whole blocks", MASK_COLUMNS)
    masks.upstream_table(library, report, sizes, quick, full)
    report.heading("Half of each block, and 2:4", MASK_COLUMNS)
    masks.partial_table(library, report, sizes, quick, full)
    report.heading("Clipped edges", RATIO_COLUMNS)
    masks.clipped_table(library, report)
    report.heading("Ties and 16-bit types", RATIO_COLUMNS)
    masks.hard_table(library, report, sizes)
    report.heading("One budget over many tensors", RATIO_COLUMNS)
    masks.scope_table(library, report)
    report.heading("Threads", RATIO_COLUMNS)
    masks.threads_table(library, report)
    report.heading("Scratch memory")
    masks.scratch_table(library, report)
    report.heading("File to file")
    files.file_table(ROOT / "build/bin/winnow", ROOT / ".cache/bench", report)


def run_files(report, library, quick, _full):
    import compressed_files  # here, because only this section needs the other codecs' packages
    import model_files

    compressed_files.tables(library, ROOT / ".cache", report, RATIO_COLUMNS, quick)
    report.heading("Compressed files", RATIO_COLUMNS)
    model_files.tables(ROOT / "build/bin/winnow", ROOT / ".cache", report)


SECTIONS = {"core": run_core, "torch": run_torch, "python": run_python, "files": run_files}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", choices=SECTIONS)
    parser.add_argument("--write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    report = Report()
    library = Library(ROOT / "build-bench/bench/libwinnow_bench.so")
    report.say(f"Machine: {machine(library)}. Times are minima of interleaved repetitions, nanoseconds a "
               "value, one thread.")
    for name, section in SECTIONS.items():
        if options.only in (None, name):
            section(report, library, options.quick, options.full)
    report.say(f"\n{report.bars - len(report.missed)} of {report.bars} bars met")
    for missed in report.missed:
        report.say(f"- missed: {missed}")
    if options.write:
        report.write(Path(options.write))
    return 1 if options.check and report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
