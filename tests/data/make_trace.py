#!/usr/bin/env python3
"""Writes trace.json: levels, masks and states of sparsifiers from epoch to epoch.

    python3 tests/data/make_trace.py        # needs NumPy alone

Both suites (tests/torch/trace_test.cc, tests/python/package/test_trace.py) replay it. It is computed
by plain floats of Python and by tests/python/reference.py, which share no code with winnow.

A case has data (values are those of `numbers`, in `dtype`), the sparsifier's settings, a schedule or
none, and for each epoch what the settings and the masks of all names are after the sparsifier's step.
`state` is what a packed state_dict holds after the last epoch. The side -1 of a block is the whole
dimension.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
import reference  # noqa: E402


def numbers(count, seed):
    """Small integers with many ties, exact in every dtype."""
    return [(7919 * i * i + 389 * i + 77 + 31 * seed) % 97 - 48 for i in range(count)]


# ---- schedules


def clamped(schedule, epoch):
    return max(schedule["begin_step"], min(epoch, schedule["end_step"]))


def value_of(schedule, epoch, base):
    begin, end = schedule["begin_step"], schedule["end_step"]
    if schedule["kind"] == "lambda":
        value = base * schedule["factors"][clamped(schedule, epoch)]
    elif schedule["kind"] == "step":
        stairs = (clamped(schedule, epoch) - begin) // schedule["step_size"]
        value = base * schedule["gamma"] ** stairs
    else:
        first, last = schedule["initial_value"], schedule["final_value"]
        last = base if last is None else last
        if epoch >= end:
            value = last
        elif epoch <= begin:
            value = first
        else:
            power = 1.0 if schedule["kind"] == "linear" else schedule["power"]
            value = last + (first - last) * (1 - (epoch - begin) / (end - begin)) ** power
    if isinstance(base, int):
        return int(math.copysign(math.floor(abs(value) + 0.5), value))
    return value


def ramp(kind, begin, end, initial=0.0, final=None, power=None, param="sparsity_level"):
    schedule = {"kind": kind, "param": param, "begin_step": begin, "end_step": end,
                "initial_value": initial, "final_value": final}
    return schedule if power is None else {**schedule, "power": power}


# ---- masks and states


def masks_of(case, groups):
    names = [data["name"] for data in case["data"]]
    tensors = [np.array(numbers(math.prod(data["shape"]), seed), np.float32).reshape(data["shape"])
               for seed, data in enumerate(case["data"])]
    if case["scope"] == "global":
        made = reference.masks(tensors, **settings_for_reference(groups[names[0]], tensors[0], case))
    else:
        made = [reference.mask(tensor, **settings_for_reference(groups[name], tensor, case))
                for name, tensor in zip(names, tensors)]
    return dict(zip(names, made))


def settings_for_reference(group, tensor, case):
    sides = reference.fold(tensor.shape)
    block = tuple(size if side == -1 else side for side, size in zip(group["sparse_block_shape"], sides))
    zeros = None if group["zeros_per_block"] == -1 else group["zeros_per_block"]
    return {"level": group["sparsity_level"], "block": block, "zeros": zeros, "norm": case["norm"].lower()}


def packed(mask):
    bits = [0] * ((mask.size + 7) // 8)
    for i, kept in enumerate(mask.reshape(-1).tolist()):
        bits[i // 8] |= kept << (i % 8)
    return {"mask_bits": bits, "mask_shape": list(mask.shape), "mask_dtype": "I8"}


def run(case):
    defaults = {key: case[key] for key in ("sparsity_level", "sparse_block_shape", "zeros_per_block")}
    groups = {data["name"]: {**defaults, **data["config"]} for data in case["data"]}
    schedule, bases = case["schedule"], None
    if schedule is not None:
        bases = {name: group[schedule["param"]] for name, group in groups.items()}
    trace = []
    for epoch in range(case.pop("epochs")):
        if schedule is not None:
            for name, group in groups.items():
                group[schedule["param"]] = value_of(schedule, epoch, bases[name])
        masks = masks_of(case, groups)
        values = {} if schedule is None else {n: g[schedule["param"]] for n, g in groups.items()}
        trace.append({"values": values,
                      "masks": {n: "".join(map(str, m.reshape(-1).tolist())) for n, m in masks.items()}})
    return {**case, "trace": trace, "state": {name: packed(mask) for name, mask in masks.items()}}


def data(name, *shape, dtype="float32", **config):
    return {"name": name, "shape": list(shape), "dtype": dtype, "config": config}


def case(name, tensors, schedule=None, epochs=1, level=0.5, block=(1, 4), zeros=None, norm="L1",
         scope="tensor"):
    """`zeros` None is the whole block, as a constructor's number; -1 in the file where a side is."""
    if zeros is None:
        zeros = -1 if -1 in block else math.prod(block)
    return {"name": name, "data": tensors, "sparsity_level": level, "sparse_block_shape": list(block),
            "zeros_per_block": zeros, "norm": norm, "scope": scope, "schedule": schedule, "epochs": epochs}


CASES = [
    # 0.63 and its neighbour below drop 32 and 31 of 50 blocks.
    case("linear", [data("row", 1, 50)], ramp("linear", 0, 10, final=0.9), 12, block=(1, 1)),
    case("linear by base", [data("a", 6, 10), data("b", 3, 7, sparsity_level=0.3)],
         ramp("linear", 1, 6, initial=0.05), 8, level=0.8),
    case("cubic", [data("a", 5, 9), data("b", 2, 3, 8, dtype="bfloat16", sparsity_level=0.6)],
         ramp("cubic", 2, 7, initial=0.1, power=3.0), 9, level=0.9, block=(2, 3), norm="L2"),
    case("square", [data("a", 8, 8, dtype="float16")], ramp("cubic", 0, 4, final=1.0, power=2.0), 6,
         block=(1, 1)),
    case("jump", [data("a", 4, 8)], ramp("cubic", 2, 2, final=0.75, power=3.0), 4),
    case("stair", [data("a", 7, 5)],
         {"kind": "step", "param": "sparsity_level", "gamma": 0.7, "step_size": 2, "begin_step": 1,
          "end_step": 6}, 9, level=0.95, block=(1, 1)),
    case("lambda", [data("a", 6, 6, dtype="float64")],
         {"kind": "lambda", "param": "sparsity_level", "factors": [0.1, 0.3, 0.2, 0.9, 0.7],
          "begin_step": 1, "end_step": 3}, 5, level=1.0, block=(1, 2)),
    case("zeros", [data("a", 4, 8)], ramp("linear", 0, 8, param="zeros_per_block"), 10, level=1.0),
    case("global", [data("small", 3, 8), data("large", 5, 12)],
         ramp("cubic", 0, 5, power=3.0), 7, level=0.7, block=(1, 2), scope="global"),
    case("two of four", [data("a", 3, 10)], level=1.0, zeros=2),
    case("whole rows", [data("wide", 6, 9), data("narrow", 8, 2)], ramp("linear", 0, 3, final=0.6), 4,
         block=(1, -1)),
]


def main():
    text = ",\n".join(json.dumps(run(each), separators=(",", ":")) for each in CASES)
    (HERE / "trace.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
