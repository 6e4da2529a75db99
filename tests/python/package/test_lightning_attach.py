"""Which parameters of a model the callbacks take, and what they say of the others."""

import warnings

import pytest
import torch
from torch import nn

from lightning_runs import callbacks, fit, held, make_module, pl  # noqa: F401
from torchwinnow.data_scheduler import CubicDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore", "always:parameters that cannot be sparsified")


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


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.hidden = nn.Embedding(8, 4), nn.LazyLinear(2)


def attached(model, **options):
    """The names that a callback attaches of a model by itself."""
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {}, CubicDataScheduler, apply_to_model=True, **options)
    callback.on_train_start(None, model)
    return list(callback.data_sparsifier.data_groups)


def test_a_lazy_parameter_asks_for_a_batch():
    module = nn.Module()
    module.model = Lazy()
    for filter in (None, lambda name, _: name.endswith("weight"), lambda _, parameter: parameter.dim() > 1):
        with pytest.raises(ValueError, match="'hidden.weight' is lazy .* run a batch"):
            attached(module, filter=filter)
    assert attached(module, filter=lambda name, _: name == "table.weight") == ["table_weight"]
    module.model.hidden(torch.ones(1, 4))
    assert "hidden_weight" in attached(module)


def test_parameters_that_nothing_trains_are_named():
    module = nn.Module()
    module.net = nn.Linear(4, 4, bias=False)
    module.teacher = nn.Linear(4, 4, bias=False).requires_grad_(False)
    with pytest.warns(UserWarning, match="'teacher.weight' do not require grad .* say by `model`"):
        attached(module, filter="default")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attached(module, filter=lambda name, _: name == "net.weight") == ["net_weight"]
        assert attached(module.net, filter="default") == ["weight"]
        module.net.requires_grad_(False)
        attached(module, filter="default")  # nothing trains: not while training, then


def test_configurations_and_masks_go_by_either_kind_of_name():
    module = nn.Module()
    module.net = nn.Linear(4, 4, bias=False)
    for name in ("net.weight", "net_weight"):
        callback = callbacks.TrainingAwareDataSparsity(
            DataNormSparsifier, {}, CubicDataScheduler, apply_to_model=True, filter="default",
            config={name: {"sparsity_level": 0.25}})
        callback.on_train_start(None, module)
        assert callback.data_sparsifier.data_groups["net_weight"]["sparse_block_shape"] == (1, 4)
        assert callback.data_scheduler.base_param == {"net_weight": 0.25}
        assert callback.get_mask(name) is callback.data_sparsifier.get_mask("net_weight")


class Packed(nn.Parameter):
    """A Parameter's subclass, as those of quantizers and DTensor are."""


def test_parameters_of_other_classes_are_named_once(recwarn):
    module = nn.Module()
    module.model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    module.model[0].weight = Packed(torch.ones(2, 2))
    module.model[1].weight = nn.Parameter(torch.eye(2).to_sparse())
    assert attached(module) == ["0_bias", "1_bias", "2_weight", "2_bias"]
    texts = [str(each.message) for each in recwarn if "left out" in str(each.message)]
    assert len(texts) == 1 and "'0.weight' is a Packed, '1.weight' is of layout" in texts[0]
    recwarn.clear()
    attached(module, filter=lambda name, _: name.startswith("2"))
    assert not [each for each in recwarn if "left out" in str(each.message)]


def test_an_error_lists_what_is_there_and_why_it_is_not_taken():
    module = nn.Module()
    module.model = nn.Linear(2, 2)
    module.model.weight = Packed(torch.ones(2, 2))
    with pytest.raises(ValueError, match="'weight' is a Packed, 'bias' is refused by the filter"):
        attached(module, filter=lambda name, _: name == "weight")
    module.model.bias = None
    with pytest.raises(ValueError, match="no parameter can be sparsified: 'weight' is a Packed"):
        attached(module)


def test_a_model_without_parameters_is_an_error():
    module = nn.Module()
    module.model = nn.ReLU()
    with pytest.raises(ValueError, match="ReLU has no parameters"):
        attached(module)


def test_what_is_left_out_is_not_named_again_at_every_epoch(pl, tmp_path, recwarn):
    module = make_module(pl, "model")
    module.model.out.bias = Packed(torch.zeros(1))
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {}, CubicDataScheduler, {"end_step": 2})
    fit(pl, module, callback, 3, tmp_path)
    assert len([each for each in recwarn if "'out.bias' is a Packed" in str(each.message)]) == 1


def test_a_sharded_parameter_is_named(tmp_path, recwarn):
    distributed = pytest.importorskip("torch.distributed.tensor")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        module = nn.Module()
        module.model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        module.model[0].weight = nn.Parameter(distributed.distribute_tensor(torch.ones(4, 4), mesh))
        assert attached(module) == ["1_weight"]
        assert [each for each in recwarn if "'0.weight' is a DTensor" in str(each.message)]
    finally:
        torch.distributed.destroy_process_group()
