"""Replays tests/data/trace.json, whose levels, masks and states make_trace.py computes on its own."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from torchwinnow import WHOLE_DIMENSION
from torchwinnow.data_scheduler import (
    CubicDataScheduler,
    LambdaDataScheduler,
    LinearDataScheduler,
    StepDataScheduler,
)
from torchwinnow.data_sparsifier import DataNormSparsifier

DATA = Path(__file__).resolve().parents[2] / "data"
CASES = json.loads((DATA / "trace.json").read_text())
SCHEDULERS = {"linear": LinearDataScheduler, "cubic": CubicDataScheduler, "step": StepDataScheduler}
pytestmark = pytest.mark.filterwarnings("ignore:all values are equal", "ignore:Detected call of")


def tensor(data, seed):
    i = torch.arange(torch.Size(data["shape"]).numel())
    numbers = (7919 * i * i + 389 * i + 77 + 31 * seed) % 97 - 48
    return numbers.reshape(data["shape"]).to(getattr(torch, data["dtype"]))


def sparsifier_of(case):
    sparsifier = DataNormSparsifier(
        None,
        case["sparsity_level"],
        tuple(WHOLE_DIMENSION if side == -1 else side for side in case["sparse_block_shape"]),
        None if case["zeros_per_block"] == -1 else case["zeros_per_block"],
        case["norm"],
        case["scope"],
    )
    for seed, data in enumerate(case["data"]):
        sparsifier.add_data(data["name"], tensor(data, seed), **data["config"])
    return sparsifier


def scheduler_of(sparsifier, schedule):
    if schedule is None:
        return None
    options = {key: value for key, value in schedule.items() if key not in ("kind", "param")}
    if schedule["kind"] == "lambda":
        options["factor"] = options.pop("factors").__getitem__
        return LambdaDataScheduler(sparsifier, schedule["param"], **options)
    return SCHEDULERS[schedule["kind"]](sparsifier, schedule["param"], **options)


def digits(mask):
    return "".join(str(int(kept)) for kept in mask.flatten().tolist())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_levels_masks_and_states_are_those_of_the_plain_computation(case):
    sparsifier = sparsifier_of(case)
    scheduler = scheduler_of(sparsifier, case["schedule"])
    for i, epoch in enumerate(case["trace"]):
        if scheduler is not None and i > 0:
            scheduler.step()
        sparsifier.step()
        for name, value in epoch["values"].items():
            found = sparsifier.data_groups[name][scheduler.schedule_param]
            assert (type(found), found) == (type(value), value), (i, name)  # to the last bit
        for name, expected in epoch["masks"].items():
            assert digits(sparsifier.get_mask(name)) == expected, (i, name)
    state = sparsifier.state_dict(mask_format="packed")
    for name, packed in case["state"].items():
        entry = state["state"][name]
        assert entry["mask_bits"].tolist() == packed["mask_bits"]
        assert list(entry["mask_shape"]) == packed["mask_shape"]
        assert entry["mask_dtype"] == packed["mask_dtype"]
        entry["mask_bits"] = torch.tensor(packed["mask_bits"], dtype=torch.uint8)
    loaded = DataNormSparsifier()
    loaded.load_state_dict(state)
    for name, expected in case["trace"][-1]["masks"].items():
        assert digits(loaded.get_mask(name)) == expected


def test_the_default_state_of_cpp_loads():
    """The file that the test of the same trace in C++ writes."""
    case = next(case for case in CASES if case["name"] == "global")
    loaded = DataNormSparsifier()
    loaded.load_state_dict(torch.load(DATA / "trace_state.pt", weights_only=True))
    for seed, data in enumerate(case["data"]):
        name = data["name"]
        assert digits(loaded.get_mask(name)) == case["trace"][-1]["masks"][name]
        assert loaded.data_groups[name]["sparsity_level"] == case["trace"][-1]["values"][name]
        assert torch.equal(loaded.get_data(name), tensor(data, seed))


def test_the_file_is_what_its_script_makes():
    made = runpy.run_path(str(DATA / "make_trace.py"))
    assert json.loads(json.dumps([made["run"](case) for case in made["CASES"]])) == CASES
