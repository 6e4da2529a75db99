"""The default selection in the callbacks: filter="default", and what is said without a filter."""

import pytest
import torch
from torch import nn

from lightning_runs import callbacks, fit, make_module, once, pl, zeros  # noqa: F401
from torchwinnow.data_scheduler import CubicDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore", "always:.*filter=.default. leaves")


def training(**options):
    return callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)}, CubicDataScheduler,
        {"end_step": 2}, model="net", **options)


def post(**options):
    return callbacks.PostTrainingDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)}, model="net", **options)


def said(recwarn):
    found = [str(each.message) for each in recwarn if "leaves them alone" in str(each.message)]
    recwarn.clear()
    return found


def normed(pl):
    """The small model with a weight_norm of either kind and a LayerNorm."""
    module = make_module(pl)
    module.net.hidden = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.LayerNorm(8), nn.utils.weight_norm(nn.Linear(8, 8)))
    return module


KINDS = [post, training, lambda **options: training(apply_to_model=True, **options)]


@pytest.mark.parametrize("make", KINDS, ids=["post", "copy", "held"])
def test_the_default_filter_is_bound_to_the_model_that_is_attached(pl, tmp_path, recwarn, make):
    module, callback = normed(pl), make(filter="default")
    fit(pl, module, callback, 3, tmp_path)
    assert list(callback.data_sparsifier.data_groups) == ["table_weight"]
    sparse = module.net if callback.sparsified is None else callback.sparsified
    assert zeros(sparse.table.weight) == 0.75 and not said(recwarn)
    assert not sparse(torch.arange(4)).isnan().any()


@pytest.mark.parametrize("make", KINDS, ids=["post", "copy", "held"])
def test_without_a_filter_one_warning_names_what_the_rule_leaves_alone(pl, tmp_path, recwarn, make):
    module, callback = normed(pl), make()
    fit(pl, module, callback, 3, tmp_path)
    assert len(callback.data_sparsifier.data_groups) == len(list(module.net.parameters()))
    (text,) = said(recwarn)
    assert "without a filter every parameter is sparsified, " in text and 'filter="default"' in text
    assert "'hidden.0.parametrizations.weight.original0', 'hidden.2.weight_g' (a magnitude" in text
    assert "'hidden.0.parametrizations.weight.original1', 'hidden.2.weight_v' (a direction" in text
    assert "'hidden.0.bias', 'hidden.1.weight' and 4 more (fewer than 2 dimensions" in text
    assert "table" not in text and len(text) < 600


@once
def test_a_filter_that_takes_directions_of_weight_norm_is_warned_of(pl, tmp_path, recwarn):
    fit(pl, normed(pl), training(filter=lambda _, parameter: parameter.dim() > 1), 1, tmp_path)
    (text,) = said(recwarn)
    assert text.startswith("the filter takes in 'hidden.0.parametrizations.weight.original1', 'hidden.2.weight_v' (")
    assert "magnitude" not in text
    fit(pl, normed(pl), training(filter=lambda name, _: name.endswith("bias")), 1, tmp_path)
    assert not said(recwarn)


def test_a_model_that_the_rule_takes_as_a_whole_is_no_warning(recwarn):
    module = nn.Module()
    module.net = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 4, bias=False))
    post().on_fit_end(None, module)
    assert not said(recwarn)


@pytest.mark.parametrize("make", KINDS[:2], ids=["post", "training"])
def test_another_word_is_refused(make):
    with pytest.raises(ValueError, match="filter: expected a function .* found 'defaults'"):
        make(filter="defaults")
