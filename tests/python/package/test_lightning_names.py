"""Names of parameters in the callbacks: those of tied ones, and those of wrapped modules."""

import pytest
import torch
from torch import nn

from lightning_runs import callbacks, fit, held, make_module, once, pl, zeros  # noqa: F401
from torchwinnow import default_filter, left_alone
from torchwinnow._names import named_parameters
from torchwinnow.data_scheduler import CubicDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore", "always:.*filter=.default. leaves")


class Tied(nn.Module):
    """The head's weight is the embedding's, and two experts share one more."""

    def __init__(self):
        super().__init__()
        self.emb, self.mid = nn.Embedding(12, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 12, bias=False)
        self.head.weight = self.emb.weight
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.experts[2].weight = self.experts[1].weight = self.experts[0].weight


def started(model, apply_to_model=True, **options):
    """A callback that has attached the model."""
    module = nn.Module()
    module.model = model
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.5}, CubicDataScheduler, apply_to_model=apply_to_model, **options)
    callback.on_train_start(None, module)
    return callback


def groups(*arguments, **options):
    return started(*arguments, **options).data_sparsifier.data_groups


@pytest.mark.parametrize("apply_to_model", [True, False])
def test_a_filter_is_asked_for_every_name_of_a_tied_parameter(apply_to_model):
    asked = []

    def filter(name, parameter):
        asked.append(name)
        return "head" in name or "emb" in name or name == "mid.weight"

    assert list(groups(Tied(), apply_to_model, filter=filter)) == ["emb_weight", "mid_weight"]
    assert asked == [name for name, _ in Tied().named_parameters(remove_duplicate=False)][:1] + ["head.weight"] + [
        "mid.weight", "mid.bias", "experts.0.weight", "experts.1.weight", "experts.2.weight",
        "experts.0.bias", "experts.1.bias", "experts.2.bias"]
    assert list(groups(Tied(), apply_to_model, filter=lambda name, _: name.startswith("mid"))) == ["mid_weight", "mid_bias"]


@pytest.mark.parametrize("filter, names, which", [
    (lambda name, _: "head" not in name, "'emb.weight' and 'head.weight'", "first"),
    (lambda name, _: "head" in name, "'emb.weight' and 'head.weight'", "second"),
    (lambda name, _: name.startswith(("experts.0", "experts.1", "mid")), "'experts.0.weight' and 'experts.2.weight'", "first"),
])
def test_a_filter_that_says_two_things_of_one_parameter_is_refused(filter, names, which):
    with pytest.raises(ValueError, match=f"{names} are one parameter, and the filter takes in the {which} only: let it"):
        started(Tied(), filter=filter)


def test_a_configuration_goes_by_any_name_of_a_tied_parameter_but_by_one():
    for name in ("emb_weight", "head_weight"):
        levels = started(Tied(), config={name: {"sparsity_level": 0.25}}).data_scheduler.base_param
        assert levels["emb_weight"] == 0.25 and levels["mid_weight"] == 0.5 and "head_weight" not in levels
    with pytest.raises(ValueError, match="config: 'head_weight' and 'emb_weight' are one parameter"):
        started(Tied(), config={"head_weight": {}, "emb_weight": {}})


def test_a_mask_is_found_by_any_name_of_a_tied_parameter():
    callback = started(Tied())
    assert callback.get_mask("experts.2.weight") is callback.get_mask("experts.0.weight")
    with pytest.raises(ValueError, match="'experts.3.weight' is not sparsified"):
        callback.get_mask("experts.3.weight")


def test_the_default_rule_leaves_a_tied_parameter_alone_by_any_of_its_names():
    model = nn.Module()
    model.first, model.second = nn.Linear(4, 4, bias=False), nn.Embedding(4, 4)
    model.alibi_slopes = model.first.weight
    assert left_alone(model).keys() == {"alibi_slopes", "first.weight"}
    takes = default_filter(model)
    assert [takes(name, each) for name, each in model.named_parameters(remove_duplicate=False)] == [False, False, True]
    assert list(groups(model, filter="default")) == ["second_weight"]


@once
def test_a_checkpoint_has_the_zeros_under_all_names_of_a_tied_parameter(pl, tmp_path):
    module = make_module(pl)
    module.net.twin = nn.Embedding(40, 8)
    module.net.twin.weight = module.net.table.weight
    callback = held(model="net")
    trainer = fit(pl, module, callback, 5, tmp_path)
    module.net.table.weight.data.add_(1)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=False)["state_dict"]
    assert zeros(saved["net.table.weight"]) == zeros(saved["net.twin.weight"]) == 0.75


def compiled(pl, kind):
    """The small model, a part of which or the whole is in a wrapper."""
    module = make_module(pl)
    if kind == "whole":
        module.net = torch.compile(module.net, backend="eager")
    elif kind == "part":
        module.net.hidden = torch.compile(module.net.hidden, backend="eager")
    return module


NAMES = ["table_weight", "hidden_weight", "hidden_bias", "out_weight", "out_bias"]


@once
@pytest.mark.parametrize("kind", ["whole", "part"])
def test_names_are_those_of_the_module_that_is_compiled(pl, tmp_path, kind, recwarn):
    asked, callback = [], held(model="net", config={"hidden_weight": {"sparsity_level": 0.5}},
                               filter=lambda name, _: asked.append(name) or name in ("table.weight", "hidden.weight"))
    trainer = fit(pl, compiled(pl, kind), callback, 5, tmp_path)
    assert asked == [name.replace("_", ".") for name in NAMES]
    assert list(callback.data_sparsifier.data_groups) == NAMES[:2]
    assert {"sparsity/table.weight", "sparsity/hidden.weight"} <= trainer.logged_metrics.keys()
    assert trainer.logged_metrics["sparsity/hidden.weight"] == 0.5
    callback = held(model="net", filter="default")
    module = compiled(pl, kind)
    callback.on_train_start(None, module)
    assert list(callback.data_sparsifier.data_groups) == ["table_weight", "hidden_weight", "out_weight"][:2]


@once
@pytest.mark.parametrize("before, after", [("no", "whole"), ("whole", "no"), ("part", "whole")])
def test_masks_of_a_checkpoint_fit_a_run_that_is_compiled_or_not(pl, tmp_path, before, after):
    first, second = held(model="net"), held(model="net")
    fit(pl, compiled(pl, before), first, 3, tmp_path)
    second.load_state_dict(first.state_dict())
    second.on_train_start(None, compiled(pl, after))
    for name in NAMES:
        assert torch.equal(second.data_sparsifier.get_mask(name), first.data_sparsifier.get_mask(name))


@once
@pytest.mark.parametrize("kind", ["whole", "part"])
def test_copies_and_checkpoints_of_compiled_models_are_masked(pl, tmp_path, kind):
    module, callback = compiled(pl, kind), held(model="net")
    trainer = fit(pl, module, callback, 5, tmp_path)
    plain = make_module(pl).net
    callback.mask_copy_(plain)
    assert zeros(plain.table.weight) == zeros(plain.hidden.weight) == 0.75
    for parameter in module.parameters():
        parameter.data.add_(1)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=False)["state_dict"]
    assert {zeros(each) for name, each in saved.items() if name.endswith("hidden.weight") or "table" in name} <= {0.75}


@once
def test_a_masked_copy_of_a_compiled_model_has_its_names(pl, tmp_path):
    callback = callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75}, CubicDataScheduler, {"end_step": 1}, model="net")
    fit(pl, compiled(pl, "whole"), callback, 2, tmp_path)
    assert list(callback.data_sparsifier.data_groups) == NAMES


class Parallel(nn.parallel.DistributedDataParallel):
    """Without a group of processes."""

    def __init__(self, module):
        nn.Module.__init__(self)
        self.module = module


def test_parts_of_other_wrappers_are_left_out_and_those_of_models_are_not():
    model = nn.Module()
    model._fsdp_wrapped_module, model.module = nn.Module(), nn.Linear(2, 2)  # a module of the user's
    model._fsdp_wrapped_module._checkpoint_wrapped_module = nn.Linear(2, 2, bias=False)
    assert [each.names for each in named_parameters(Parallel(model))] == [["weight"], ["module.weight"], ["module.bias"]]
    assert [each.names for each in named_parameters(nn.DataParallel(nn.Linear(2, 2, bias=False)))] == [["weight"]]
    outer = nn.Module()
    outer.model = Parallel(torch.compile(nn.Linear(2, 2), backend="eager"))
    assert [each.names[0] for each in named_parameters(outer)] == ["model.weight", "model.bias"]
    assert left_alone(outer).keys() == {"model.bias"}


def test_names_that_meet_without_their_wrappers_are_refused():
    model = nn.Module()
    model._checkpoint_wrapped_module, model.weight = nn.Linear(2, 2), nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match="'weight' and '_checkpoint_wrapped_module.weight' both become 'weight'"):
        started(model)
