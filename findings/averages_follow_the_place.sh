#!/usr/bin/env bash
# Pruning moves a parameter behind its neighbours, and averages and optimizer states follow the place.
#
# What:      torch.nn.utils.prune (torch 2.13.0) registers `weight` anew as `weight_orig`, so it becomes the last
#            parameter of its module, and stays last after prune.remove. AveragedModel with buffers and
#            Optimizer.load_state_dict pair by position. Where two weights have one shape (a GRU or RNN without
#            biases, factors of a factorization) nothing is said, and:
#            1. lightning 2.6.6, ModelPruning before EMAWeightAveraging: the checkpoint's weight_ih_l0 is the
#               average of weight_hh_l0, and the other way round.
#            2. An AdamW state of the pruned model, loaded for a model made anew (weights load by name), gives
#               each matrix the momentum of the other, although both states hold the parameters' names.
#            With biases the shapes differ, and 1. ends with a RuntimeError.
# Why:       both are ways to prune while training and to resume. The losses look like those of bad training.
#            Keep masks beside the model, so that its parameters stay in place; never load an optimizer of another order.
# Measured:  2026-11-30, x86-64, Python 3.11. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 lightning==2.6.6 numpy==2.4.6
cd "$dir"
venv/bin/python -W ignore - <<'PY'
import logging, sys, torch
import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, ModelPruning
from torch import nn
from torch.nn.utils import prune
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(16, 16, bias=False, batch_first=True), nn.Linear(16, 1)
    def training_step(self, batch, index):
        return nn.functional.mse_loss(self.out(self.gru(batch[0])[0][:, -1]), batch[1])
    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)

L.seed_everything(0, verbose=False)
x = torch.randn(256, 5, 16)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum((1, 2))[:, None]), 32)
model = Model()
print("parameters before:", [n for n, _ in model.gru.named_parameters()])
pruning = ModelPruning("l1_unstructured", [(model.gru, "weight_ih_l0")], amount=0.5, use_global_unstructured=False, apply_pruning=lambda epoch: epoch == 1)
saving = ModelCheckpoint(".", save_last=True)
L.Trainer(max_epochs=8, callbacks=[pruning, EMAWeightAveraging(decay=0.9), saving], accelerator="cpu", logger=False,
          enable_progress_bar=False, enable_model_summary=False).fit(model, data)
print("parameters after: ", [n for n, _ in model.gru.named_parameters()])
saved = torch.load("last.ckpt", weights_only=False)
average, current = saved["state_dict"], saved["current_model_state"]
ih, hh = "gru.weight_ih_l0", "gru.weight_hh_l0"
away = lambda a, b: (average[a] - current[b]).abs().mean().item()
print(f"1. mean distance of the averaged ih to the trained ih {away(ih, ih):.4f}, to the trained hh {away(ih, hh):.4f}")
print(f"                 of the averaged hh to the trained hh {away(hh, hh):.4f}, to the trained ih {away(hh, ih):.4f}")
exchanged = away(ih, hh) < 0.3 * away(ih, ih) and away(hh, ih) < 0.3 * away(hh, hh)  # the average has no mask

old, new = (nn.GRU(16, 16, bias=False) for _ in range(2))
prune.remove(prune.l1_unstructured(old, "weight_ih_l0", 0.5), "weight_ih_l0")
first, second = (torch.optim.AdamW(gru.named_parameters(), 1e-3) for gru in (old, new))
old(torch.randn(4, 2, 16))[0].square().mean().backward()
first.step()
new.load_state_dict(old.state_dict())
second.load_state_dict(first.state_dict())
momentum = lambda optimizer, gru, name: optimizer.state[dict(gru.named_parameters())[name]]["exp_avg"]
other = all(torch.equal(momentum(second, new, a), momentum(first, old, b)) for a, b in (("weight_ih_l0", "weight_hh_l0"), ("weight_hh_l0", "weight_ih_l0")))
print("2. the state's names:", first.state_dict()["param_groups"][0]["param_names"], "| each has the other's momentum:", other)
sys.exit(not (exchanged and other))
PY
