"""What a run that goes on says of settings that were changed."""

import pytest
import torch

from lightning_runs import callbacks, fit, make_module, once, pl, zeros  # noqa: F401
from torchwinnow.data_scheduler import LambdaDataScheduler, LinearDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

pytestmark = pytest.mark.filterwarnings("ignore")
ARGUMENTS = {"sparsity_level": 0.5, "sparse_block_shape": (1, 1)}


def make(sparsifier=None, scheduler=None, schedule=LinearDataScheduler, **options):
    options = {"apply_to_model": True, "model": "net", **options}
    return callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {**ARGUMENTS, **(sparsifier or {})}, schedule, {"end_step": 3, **(scheduler or {})}, **options)


CHANGES = [
    ({"sparsifier": {"sparsity_level": 0.9}}, r"data_sparsifier_args\['sparsity_level'\] was 0.5 and is 0.9 now"),
    ({"sparsifier": {"sparse_block_shape": (1, 4)}}, r"data_sparsifier_args\['sparse_block_shape'\] was \[1, 1\] and is \[1, 4\]"),
    ({"sparsifier": {"norm": "L2"}}, r"data_sparsifier_args\['norm'\] was 'L1' and is 'L2' now"),
    ({"scheduler": {"end_step": 8}}, r"data_scheduler_args\['end_step'\] was 3 and is 8 now"),
    ({"scheduler": {"initial_value": 0.1}}, r"data_scheduler_args\['initial_value'\] was .* and is 0.1 now"),
    ({"config": {"table_weight": {"sparsity_level": 0.1}}}, r"config\['table_weight'\] was not given and is \{'sparsity_level': 0.1\}"),
    ({"momentum_keys": ("exp_avg",)}, r"momentum_keys was \[.*\] and is \['exp_avg'\] now"),
]


@once
@pytest.mark.parametrize("apply_to_model", [True, False])
def test_changed_settings_of_a_resumed_run_are_named(pl, tmp_path, apply_to_model):
    trainer = fit(pl, make_module(pl), make(apply_to_model=apply_to_model), 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    for change, message in CHANGES:
        module = make_module(pl)
        with pytest.raises(RuntimeError, match=message + ".*; construct it as it was when the state was saved"):
            fit(pl, module, make(**change, apply_to_model=apply_to_model), 4, tmp_path, ckpt_path=tmp_path / "two.ckpt")
    # The same in other words, and another length of the run.
    same = make({"norm": "L1", "sparse_block_shape": [1, 1]}, config={}, apply_to_model=apply_to_model)
    fit(pl, make_module(pl), same, 6, tmp_path, ckpt_path=tmp_path / "two.ckpt")
    assert same.data_scheduler.last_epoch == 6


@once
def test_settings_that_were_changed_between_two_fits_are_named(pl, tmp_path):
    module, callback = make_module(pl), make()
    fit(pl, module, callback, 2, tmp_path)
    before = {name: each.clone() for name, each in module.state_dict().items()}
    state = callback.state_dict()
    callback.data_sparsifier_args["sparsity_level"] = 0.9
    with pytest.raises(RuntimeError, match=r"data_sparsifier_args\['sparsity_level'\] was 0.5 and is 0.9 now"):
        fit(pl, module, callback, 2, tmp_path)
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    assert callback.state_dict()["settings"] == state["settings"]
    fit(pl, make_module(pl), callback, 5, tmp_path)  # another model starts anew, with what is said now
    assert callback.state_dict()["settings"]["data_sparsifier_args"]["sparsity_level"] == 0.9
    assert zeros(callback._weights["table.weight"]) == pytest.approx(0.9, abs=0.01)


@once
def test_a_checkpoint_from_before_settings_were_saved_loads(pl, tmp_path):
    trainer = fit(pl, make_module(pl), make(), 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    saved = torch.load(tmp_path / "two.ckpt", weights_only=True)
    for state in saved["callbacks"].values():
        del state["settings"]
    torch.save(saved, tmp_path / "old.ckpt")
    callback = make({"sparsity_level": 0.9})
    fit(pl, make_module(pl), callback, 4, tmp_path, ckpt_path=tmp_path / "old.ckpt")
    assert callback.data_scheduler.last_epoch == 4


@once
def test_functions_among_the_settings_go_by_their_names(pl, tmp_path):
    def halved(epoch):
        return 0.5 if epoch else 0.0

    def make_with(function):
        return callbacks.TrainingAwareDataSparsity(
            DataNormSparsifier, ARGUMENTS, LambdaDataScheduler, {"factor": function}, apply_to_model=True, model="net")

    first = make_with(halved)
    fit(pl, make_module(pl), first, 1, tmp_path)
    make_with(halved).load_state_dict(first.state_dict())
    with pytest.raises(RuntimeError, match="was '.*halved' and is '.*lambda.*' now"):
        make_with(lambda epoch: 0.5).load_state_dict(first.state_dict())


@once
def test_a_default_that_a_class_got_later_is_no_difference(pl, tmp_path):
    first = make()
    fit(pl, make_module(pl), first, 1, tmp_path)

    class Later(DataNormSparsifier):
        def __init__(self, *arguments, added=1, **options):
            super().__init__(*arguments, **options)

    later, state = make(), first.state_dict()
    later.data_sparsifier_class = Later
    state["sparsifier_class"] = f"{Later.__module__}.{Later.__qualname__}"
    later.load_state_dict(state)
    later.data_sparsifier_args["added"] = 2
    with pytest.raises(RuntimeError, match=r"\['added'\] was 1 and is 2 now"):
        later.load_state_dict(state)
