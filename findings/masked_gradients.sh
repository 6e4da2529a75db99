#!/usr/bin/env bash
# A masked gradient does not hold a zero: torch.optim.Muon and 20 of 116 optimizers of pytorch_optimizer move it.
#
# What:      a 32 x 32 weight whose pruned half is 0 trains for 12 steps; its gradient is multiplied by the mask each
#            time, so a pruned weight never sees anything but gradient 0, and no optimizer has a state from before.
#            torch 2.13.0: 12 optimizers keep every zero; Muon moves all of them.
#            pytorch_optimizer 4.1.0: those that rotate or orthogonalize (muon and its kin, soap, shampoo, kron, scion ...)
#            mix a zero with its neighbours; ranger subtracts the gradient's mean; yogi starts its momentum at 1e-6.
#            Rows that are dropped whole stay 0 under Muon: the matrix has no entry to mix there.
# Why:       fixed masks are often trained by hooks on the gradient. With these optimizers the model is dense after the
#            first step, in silence: multiply the weight after each step, not the gradient before it.
# Measured:  2026-11-30, x86-64, Python 3.11. Fails if the set changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 pytorch_optimizer==4.1.0 numpy==2.4.6
"$dir/venv/bin/python" -W ignore - <<'PY'
import inspect, sys, torch
from pytorch_optimizer import get_supported_optimizers, load_optimizer

def moved(make, mask):
    """How many of the zeros of a weight have another value after twelve steps with masked gradients."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(32, 32) * mask)
    x, y = torch.randn(64, 32), torch.randn(64, 32)
    optimizer = make(weight)
    for _ in range(12):
        optimizer.zero_grad()
        (x @ weight - y).square().mean().backward()
        weight.grad.mul_(mask)
        optimizer.step()
    return int(weight[mask == 0].count_nonzero()), int((mask == 0).sum())

def of_package(name, weight):
    cls = load_optimizer(name)
    known = inspect.signature(cls).parameters
    options = {k: v for k, v in {"lr": 1e-2, "weight_decay": 1e-2}.items() if k in known}
    return cls([{"params": [weight], "use_muon": True}] if "muon" in name else [weight], **options)

torch.manual_seed(1)
values, rows = (torch.rand(32, 32) > 0.5).float(), (torch.rand(32, 1) > 0.5).float().expand(32, 32)
own = ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "Adadelta", "Adamax", "ASGD", "RMSprop", "Rprop", "Adafactor", "Muon"]
torch_moves = {n: moved(lambda w: getattr(torch.optim, n)([w], lr=1e-2), values) for n in own}
print("torch.optim moves:", {n: f"{m} of {z}" for n, (m, z) in torch_moves.items() if m})
muon_rows = moved(lambda w: torch.optim.Muon([w], lr=1e-2), rows)[0]
print("Muon, whole rows dropped:", muon_rows)
moves, keeps = [], []
for name in sorted(get_supported_optimizers()):
    try:
        (moves if moved(lambda w: of_package(name, w), values)[0] else keeps).append(name)
    except Exception:
        pass  # needs a model, a closure or a process group
print(f"pytorch_optimizer: {len(moves)} of {len(moves) + len(keeps)} move:", *moves)
expected = "adalite adamuon alice conda dash gravity kron muon muonclip nero normuon ranger rose scion scionlight shampoo soap spectralsphere splus yogi"
right = [n for n, (m, _) in torch_moves.items() if m] == ["Muon"] and not muon_rows
sys.exit(not (right and moves == expected.split()))
PY
