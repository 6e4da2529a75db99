"""Masks that hold between the optimizer's step and the end of the batch."""

import copy

import pytest
import torch

from lightning_runs import callbacks, fit, held, make_module, once, pl, zeros  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore")


def hooks_of(trainer):
    return [hook for each in trainer.optimizers for hook in each._optimizer_step_post_hooks.values()]


def manual(pl, steps=2):
    """A module that steps several times a batch, and notes what each forward pass sees."""
    module = make_module(pl)
    module.automatic_optimization, module.seen = False, []
    loss_of = module.training_step

    def training_step(batch, batch_idx):
        optimizer = module.optimizers()
        for _ in range(steps):
            module.seen.append((module.current_epoch, zeros(module.net.table.weight)))
            optimizer.zero_grad()
            module.manual_backward(loss_of(batch, batch_idx))
            optimizer.step()

    module.training_step = training_step
    return module


def test_every_forward_pass_of_a_batch_sees_the_zeros(pl, tmp_path):
    module = manual(pl)
    fit(pl, module, held(model="net"), 6, tmp_path)
    assert {level for epoch, level in module.seen if epoch > 3} == {0.75}


def test_callbacks_that_stand_before_see_the_zeros(pl, tmp_path):
    seen = []

    class Look(pl.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            seen.append((trainer.current_epoch, zeros(pl_module.net.table.weight)))

        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append((trainer.current_epoch, zeros(pl_module.net.table.weight)))

    module = make_module(pl)
    trainer = pl.Trainer(max_epochs=6, callbacks=[Look(), held(model="net")], accelerator="cpu", logger=False,
                         enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    trainer.fit(module)
    assert {level for epoch, level in seen if epoch > 3} == {0.75}


@once
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_hooks_are_there_for_as_long_as_the_fit(pl, tmp_path, error):
    seen = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append((trainer, len(hooks_of(trainer))))
            if error is not None and trainer.global_step == 20:
                raise error

    try:
        fit(pl, make_module(pl), held(model="net"), 4, tmp_path, more=[Look()])
    except (ValueError, KeyboardInterrupt, SystemExit):
        pass
    trainer = seen[0][0]
    assert {count for _, count in seen} == {1} and not hooks_of(trainer)


@once
def test_a_masked_copy_needs_no_hooks(pl, tmp_path):
    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            assert not hooks_of(trainer)

    callback = held(model="net")
    callback.apply_to_model = False
    fit(pl, make_module(pl), callback, 2, tmp_path, more=[Look()])


@once
def test_optimizers_that_are_exchanged_get_the_hooks(pl, tmp_path):
    old = []

    class Exchange(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 4:
                old.extend(trainer.optimizers)
                trainer.strategy.optimizers = [torch.optim.AdamW(pl_module.parameters(), 0.05)]

    module = manual(pl)
    trainer = fit(pl, module, held(model="net"), 6, tmp_path, more=[Exchange()])
    assert {level for epoch, level in module.seen if epoch > 3} == {0.75}
    assert trainer.optimizers[0] is not old[0] and not old[0]._optimizer_step_post_hooks


@once
def test_an_optimizer_without_hooks_is_masked_at_the_end_of_the_batch(pl, tmp_path):
    def step_of(optimizer):
        def step(closure=None):
            """It tells torch nothing: neither of its steps nor of what it writes."""
            loss = closure()
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.data.sub_(0.05 * parameter.grad)
            return loss
        return step

    class Hookless(pl.Callback):
        def on_fit_start(self, trainer, pl_module):
            (optimizer,) = trainer.optimizers
            optimizer.step = step_of(optimizer)
            del optimizer.__dict__["_optimizer_step_post_hooks"]

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.current_epoch > 3:
                assert zeros(pl_module.net.table.weight) == 0.75

    module = make_module(pl)
    fit(pl, module, held(model="net"), 6, tmp_path, more=[Hookless(), Look()])
    assert zeros(module.net.table.weight) == 0.75


@once
def test_what_is_written_after_the_step_is_masked_at_the_end_of_the_batch(pl, tmp_path):
    class Noise(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            with torch.no_grad():
                pl_module.net.table.weight.add_(0.01)

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.current_epoch > 3:
                assert zeros(pl_module.net.table.weight) == 0.75

    module = make_module(pl)
    trainer = pl.Trainer(max_epochs=6, callbacks=[Noise(), held(model="net"), Look()], accelerator="cpu", logger=False,
                         enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    trainer.fit(module)


@once
def test_masks_are_applied_once_a_step_and_not_before_there_are_any(pl, tmp_path, monkeypatch):
    from torchwinnow import _ops

    counts, apply = {}, _ops.apply_mask_

    class Count(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            self.epoch = trainer.current_epoch

        def on_train_epoch_end(self, trainer, *_):
            self.epoch = -1

    count = Count()

    def counted(tensor, mask):
        counts[count.epoch] = counts.get(count.epoch, 0) + 1
        return apply(tensor, mask)

    monkeypatch.setattr(_ops, "apply_mask_", counted)
    callback = held(model="net", filter=lambda name, _: name == "table.weight")
    module = make_module(pl, optimizer=lambda parameters, **_: torch.optim.SGD(parameters, 0.05))
    count.epoch = -1
    fit(pl, module, callback, 3, tmp_path, more=[count])
    assert counts[0] == 1 and counts[1] == counts[2] == 8 + 1  # batches, and where masks advance


@once
def test_a_callback_can_be_copied_while_it_has_hooks(pl, tmp_path):
    copies = []

    class Copy(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.global_step == 5:
                copies.append(copy.deepcopy(callback))
                assert not copy.deepcopy(trainer.optimizers[0])._optimizer_step_post_hooks

    callback = held()
    module = make_module(pl, attribute="net")
    fit(pl, module, callback, 2, tmp_path, more=[Copy()])
    assert len(copies) == 1
    for each in copies:
        each.on_exception(None, None, ValueError())
