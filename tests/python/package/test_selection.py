"""What is left alone where nobody says which tensors to prune, in models of torch."""

import subprocess
import sys

import numpy
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import torchwinnow
from torchwinnow import default_filter, left_alone

VECTOR = "fewer than 2 dimensions larger than 1"
MAGNITUDE = "a magnitude, which multiplies whole rows"
DIRECTION = "a direction of weight_norm: a row of zeros would become NaN"


def test_vectors_are_left_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv2d(4, 8, 3), nn.Embedding(9, 4))
    assert left_alone(model) == {
        "0.bias": VECTOR, "1.weight": VECTOR, "1.bias": VECTOR, "2.bias": VECTOR}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
def test_weight_norm_is_left_alone():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)),
                          nn.utils.weight_norm(nn.Conv1d(4, 4, 3), dim=1),
                          nn.utils.weight_norm(nn.Linear(4, 4), dim=None))
    assert left_alone(model) == {
        "0.bias": VECTOR,
        "0.parametrizations.weight.original0": MAGNITUDE,
        "0.parametrizations.weight.original1": DIRECTION,
        "1.bias": VECTOR, "1.weight_g": MAGNITUDE, "1.weight_v": DIRECTION,
        "2.bias": VECTOR, "2.weight_g": MAGNITUDE, "2.weight_v": DIRECTION}


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*deprecated")
def test_other_parametrizations_are_judged_by_their_buffers():
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4, bias=False)),
                          parametrizations.spectral_norm(nn.Linear(4, 4, bias=False)),
                          nn.utils.spectral_norm(nn.Linear(4, 4, bias=False)))
    assert left_alone(model) == {
        "0.parametrizations.weight.original": "its zeros are no zeros of the weight"}


class TiedToAMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(8, 8)
        self.head = nn.Linear(8, 8, bias=False)
        self.head.weight = self.emb.weight
        self.fc = nn.Linear(8, 8, bias=False)

    def tie(self, name):
        self.register_buffer(name, self.emb.weight)
        return self


def test_a_tied_parameter_is_left_alone_if_one_of_its_names_is():
    assert left_alone(TiedToAMask()) == {}
    model = TiedToAMask().tie("attn_mask")
    assert left_alone(model) == {"emb.weight": "a mask", "head.weight": "a mask"}
    takes = default_filter(model)
    weight = model.emb.weight
    assert [takes(name, weight) for name in ("emb.weight", "head.weight", "attn_mask")] == [False] * 3
    assert takes("fc.weight", model.fc.weight)
    tensors = {"emb": weight, "tril": weight, "fc": model.fc.weight}
    assert left_alone(tensors) == {"emb": "a mask", "tril": "a mask"}


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.zeros(8, 8, dtype=torch.int8))
        self.scales = nn.Parameter(torch.ones(8, 2))
        self.gate_up_proj = nn.Parameter(torch.ones(2, 8, 16))
        self.gate_up_proj_bias = nn.Parameter(torch.ones(2, 16))


def test_buffers_give_context_and_are_not_listed():
    assert left_alone(Experts()) == {"scales": "belongs to the quantized tensor beside it",
                                     "gate_up_proj_bias": "a bias"}


def test_tied_parameters_stand_beside_others_and_are_left_alone_by_any_name():
    tied = nn.ModuleDict({"a": nn.ParameterDict({"weight_v": nn.Parameter(torch.ones(4, 4))}),
                          "b": nn.ParameterDict({"weight_g": nn.Parameter(torch.ones(4, 1))})})
    tied["b"].weight_v = tied["a"].weight_v
    found = left_alone(tied)
    assert found.keys() == {"a.weight_v", "b.weight_v", "b.weight_g"} and found["b.weight_g"] == MAGNITUDE
    assert found["a.weight_v"] == found["b.weight_v"] and "a direction of weight_norm" in found["a.weight_v"]


def test_a_mapping_of_tensors_or_arrays_is_judged_whole():
    state = {"q.qweight": torch.zeros(2, 8, dtype=torch.int32), "q.scales": torch.ones(4, 8).half(),
             "rotary.cos_cached": torch.ones(1, 1, 8, 8), "w": torch.ones(4, 4).bfloat16(),
             "f8": torch.ones(4, 4).to(torch.float8_e4m3fn), "f8_scale": torch.ones(4, 1),
             "c": torch.zeros(4, 4, dtype=torch.complex128), "none": torch.zeros(0, 4)}
    expected = {"q.qweight": "dtype cannot be pruned",
                "q.scales": "belongs to the quantized tensor beside it",
                "rotary.cos_cached": "a table of positions that is computed, not trained",
                "f8": "dtype cannot be pruned",
                "f8_scale": "belongs to the quantized tensor beside it",
                "c": "dtype cannot be pruned", "none": "no elements"}
    assert left_alone(state) == expected
    arrays = {"w": numpy.ones((4, 4)), "i": numpy.ones((4, 4), numpy.uint32), "b": numpy.ones(4)}
    assert left_alone(arrays) == {"i": "dtype cannot be pruned", "b": VECTOR}


def test_the_filter_takes_what_is_not_left_alone():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4))
    takes = default_filter(model)
    assert [name for name, tensor in model.named_parameters() if takes(name, tensor)] == ["1.weight"]


def test_the_filter_judges_new_names_alone():
    takes = default_filter(nn.Sequential(nn.LazyLinear(4)))
    assert takes("0.weight", torch.ones(4, 4)) and not takes("0.bias", torch.ones(4))
    assert not takes("0.attn_mask", torch.ones(4, 4))


def test_the_filter_knows_a_tensor_by_the_name_that_a_part_has_for_it():
    whole = nn.Module()
    whole.net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    takes = default_filter(whole)
    names = dict(whole.net.named_parameters())
    assert [name for name, tensor in names.items() if takes(name, tensor)] == []
    other = nn.Linear(4, 4).weight  # no tensor of that model
    assert takes("0.other", other)


def test_lazy_parameters_are_not_judged():
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 4))
    assert left_alone(model) == {"1.bias": VECTOR}


def test_models_that_were_compiled_or_wrapped_are_judged_by_their_own_names():
    model = torch.compile(parametrizations.weight_norm(nn.Linear(4, 4, bias=False)))
    assert set(left_alone(model).values()) == {MAGNITUDE, DIRECTION}
    assert set(left_alone(model)) == {f"parametrizations.weight.original{i}" for i in range(2)}
    assert left_alone(nn.DataParallel(nn.Linear(4, 4))) == {"bias": VECTOR}
    for wrapped in (model, nn.DataParallel(nn.LayerNorm(4))):  # either name will do
        takes = default_filter(wrapped)
        assert not any(takes(name, each) for name, each in wrapped.named_parameters())


@pytest.mark.parametrize("what", [None, 7, [torch.ones(2, 2)], {"a": 1}, {1: torch.ones(2, 2)}],
                         ids=str)
def test_anything_else_is_a_type_error(what):
    for call in (left_alone, default_filter):
        with pytest.raises(TypeError, match="expected"):
            call(what)


def test_importing_it_imports_no_torch():
    script = ("import sys, torchwinnow; torchwinnow.left_alone({}); "
              "assert not {'torch', 'numpy'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_rule_is_that_of_files(tmp_path):
    from safetensors.torch import save_file

    state = {name: tensor.contiguous() for name, tensor in Experts().state_dict().items()}
    save_file(state, tmp_path / "in.safetensors")
    report = torchwinnow.prune_file(tmp_path / "in.safetensors", dry_run=True)
    assert {t.name: t.skipped for t in report.tensors if t.skipped} == left_alone(state)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated", "ignore:.*spectral_norm.*deprecated")
@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("level", [0.5, 0.9, 1])
@pytest.mark.parametrize("norm", [
    parametrizations.weight_norm, nn.utils.weight_norm,
    parametrizations.spectral_norm, nn.utils.spectral_norm], ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_pruned_files_of_normalized_layers_give_numbers(norm, level, scope, tmp_path):
    from safetensors.torch import load_file, save_file

    def model():
        torch.manual_seed(0)
        layers = [nn.Conv1d(32, 32, 7, padding=3, groups=32), nn.Conv1d(32, 16, 1),
                  nn.ConvTranspose1d(16, 8, 3)]
        dims = [{"dim": d} for d in (0, 1, 1)] if norm.__name__ == "weight_norm" else [{}] * 3
        return nn.Sequential(*(norm(layer, **dim) for layer, dim in zip(layers, dims)))

    save_file({k: v.contiguous() for k, v in model().state_dict().items()}, tmp_path / "in")
    report = torchwinnow.prune_file(tmp_path / "in", tmp_path / "out", sparsity_level=level, scope=scope)
    assert report.zeros_after > 0 or level == 1
    torchwinnow.verify_file(tmp_path / "out", tmp_path / "in")
    pruned = model()
    pruned.load_state_dict(load_file(tmp_path / "out"))
    for mode in (pruned.eval, pruned.train):
        assert mode()(torch.randn(2, 32, 50)).isfinite().all()
