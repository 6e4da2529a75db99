#!/usr/bin/env bash
# ZipNN 0.5.4 compresses a tensor by rewriting the tensor's own memory: the model that was compressed is ruined.
#
# What:      ZipNN(input_format="torch").compress(t) reorders the bits of F32 and BF16 values in place, so that exponents
#            stand in bytes of their own, and does not put them back. What decompress() returns is right, but the model
#            that t belongs to has other weights: after compress() of all entries of its state_dict an MLP gives
#            infinities and NaN. +0.0 stays 0; -0.0, which a product with a mask leaves of every negative weight, becomes
#            a number, so a model pruned to 90 % has 45 % zeros then. F16 is not affected, and a clone is enough.
#            Bytes given as a bytearray are rewritten in the same way.
# Why:       "compress a checkpoint every few steps, go on training" trains garbage from the first checkpoint on, and
#            the checkpoint itself verifies. A benchmark that compresses one array several times measures other data
#            from the second time on. Give it a clone: compress(t.clone()).
# Measured:  2026-11-30, x86-64, Python 3.11, torch 2.13.0. Fails if any of this changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 zipnn==0.5.4 numpy==2.4.6
"$dir/venv/bin/python" -W ignore - <<'PY'
import sys, torch
from zipnn import ZipNN


def pruned_mlp(dtype):
    """Three layers whose weights have 90 % zeros, as magnitude pruning leaves them."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(3))).to(dtype)
    with torch.no_grad():
        for layer in model:
            bound = layer.weight.abs().float().quantile(0.9)
            layer.weight.mul_(layer.weight.abs() >= bound)
    return model


def compress_state(model, take):
    """Whether everything that decompresses is what went in."""
    good = True
    for tensor in model.state_dict().values():
        before = tensor.clone()
        back = ZipNN(input_format="torch").decompress(ZipNN(input_format="torch").compress(take(tensor)))
        good &= torch.equal(back.view(torch.uint8), before.view(torch.uint8))
    return good


def zeros(model):
    """The share of zeros among all weights, in per cent."""
    return round(100 * sum((layer.weight == 0).float().mean().item() for layer in model) / len(model))


right = True
x = torch.randn(8, 256, generator=torch.Generator().manual_seed(1))
for dtype, ruined in ((torch.float32, True), (torch.bfloat16, True), (torch.float16, False)):
    for how, take in (("the tensor", lambda t: t), ("a clone", torch.clone)):
        model = pruned_mlp(dtype)
        want, before = model(x.to(dtype)).float(), zeros(model)
        good = compress_state(model, take)
        have = model(x.to(dtype)).float()
        same = torch.equal(have, want)
        close = torch.nan_to_num((have - want).abs(), nan=float("inf")).max().item()
        print(f"{str(dtype):15} {how:10} decompresses: {good}  zeros: {before} % before, {zeros(model)} % after  "
              f"outputs off by {close:.3g}")
        spared = how == "a clone" or not ruined
        right &= good and before == 90 and zeros(model) == (90 if spared else 45) and same == spared
data = bytearray(torch.randn(100_000).numpy().tobytes())
image = bytes(data)
ZipNN(input_format="byte", bytearray_dtype="float32").compress(data)
print("bytearray rewritten:", bytes(data) != image)
sys.exit(not (right and bytes(data) != image))
PY
