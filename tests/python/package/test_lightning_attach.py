"""Which parameters of a model the callbacks take, and what they say of the others."""

import pytest
import torch
from torch import nn

from lightning_runs import callbacks, fit, held, make_module, pl  # noqa: F401
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_filter_that_takes_in_nothing_is_an_error(pl, tmp_path):
    callback = callbacks.PostTrainingDataSparsity(
        DataNormSparsifier, model="net", filter=lambda name, parameter: name == "tables.weight")
    with pytest.raises(ValueError, match="takes in none of the parameters .*'table.weight'"):
        fit(pl, make_module(pl), callback, 1, tmp_path)


def test_names_that_meet_are_an_error(pl):
    module = nn.Module()
    module.model = nn.Module()
    module.model.a, module.model.a_weight = nn.Linear(2, 2), nn.Parameter(torch.ones(2))
    callback = callbacks.PostTrainingDataSparsity(DataNormSparsifier)
    with pytest.raises(ValueError, match="both become 'a_weight'"):
        callback.on_fit_end(None, module)
    with pytest.raises(ValueError, match="no parameter that is attached is called 'ghost'"):
        callbacks.PostTrainingDataSparsity(DataNormSparsifier, config={"ghost": {}}).on_fit_end(
            None, make_module(pl))
