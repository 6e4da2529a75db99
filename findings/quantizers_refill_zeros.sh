#!/usr/bin/env bash
# Prune, then quantize: HQQ, quanto's qint4, GGUF's Q4_1 and Q5_1 and bitsandbytes' 8 bits fill the zeros again.
#
# What:      a 256 x 256 weight with 90 % zeros is quantized and dequantized; the share of zeros that is left:
#            hqq 0.2.8.post1, 8, 4, 3 and 2 bits: below 10 % (its zero point is a real number, so 0 lies between two codes)
#            optimum-quanto 0.2.7, qint4 and qint2: below 1 %; qint8 and qfloat8 keep all
#            gguf 0.19.0, Q4_1 and Q5_1: about a fifth (their blocks have a minimum); Q4_0, Q5_0, Q8_0, TQ1_0, TQ2_0 keep all
#            bitsandbytes 0.50.2, CPU, quantize_blockwise: none. Its map has an exact 0, but the code that is chosen for
#              0.0 is four places off (2.1e-5 of the block's maximum); nf4 and fp4 keep all.
#            torchao 0.18.0, five of its weight-only configurations that run on a CPU: keep all.
#            The same in training: bitsandbytes' Adam8bit (CPU) holds its momenta in that map. Pruned weights
#            whose gradient is exactly 0 in every step are all moved by the first steps; torch's Adam leaves them.
# Why:       "90 % sparse, then 4 bits" is a common plan, and most quantizers do keep zeros, so nobody looks. The file
#            has the right size, the perplexity is fine, and whoever counts on zeros (a sparse kernel, compression
#            after quantizing, a mask made anew by `weight != 0`) finds a dense matrix. Compress or encode before
#            quantizing, or take a symmetric format.
# Measured:  2026-12-01, x86-64, Python 3.11, torch 2.13.0. Fails if a kind changes sides.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$dir/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 gguf==0.19.0 torchao==0.18.0 \
  bitsandbytes==0.50.2 hqq==0.2.8.post1 optimum-quanto==0.2.7
"$dir/venv/bin/python" -W ignore - 2>/dev/null <<'PY'
import sys, gguf, torch, torchao.quantization as ao
import bitsandbytes as bnb
from hqq.core.quantize import Quantizer
from optimum import quanto

torch.manual_seed(0)
weight = 0.02 * torch.randn(256, 256)
weight[weight.abs() < weight.abs().flatten().quantile(0.9)] = 0
zero = weight == 0


def layer():
    """The weight in a model of its own, for the libraries that convert models."""
    model = torch.nn.Sequential(torch.nn.Linear(256, 256, bias=False))
    model[0].weight.data = weight.clone()
    return model


def by_gguf(name):
    kind = gguf.GGMLQuantizationType[name]
    return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind))


def by_hqq(bits):
    codes, meta = Quantizer.quantize(weight.clone(), nbits=bits, group_size=64, axis=1, device="cpu",
                                     compute_dtype=torch.float32)
    return Quantizer.dequantize(codes, meta)


def by_quanto(name):
    model = layer()
    quanto.quantize(model, weights=getattr(quanto, name))
    quanto.freeze(model)
    return model[0].weight.dequantize()


def by_torchao(name):
    model = layer()
    ao.quantize_(model, getattr(ao, name)())
    return model[0].weight.dequantize()


def by_bitsandbytes(name):
    if name == "blockwise":
        return bnb.functional.dequantize_blockwise(*bnb.functional.quantize_blockwise(weight))
    return bnb.functional.dequantize_4bit(*bnb.functional.quantize_4bit(weight, quant_type=name))


def zeros_after_adam(make):
    """The share of pruned weights that are still 0 after three steps in which their gradient is 0."""
    torch.manual_seed(1)
    values = torch.zeros(5000)
    values[::10] = 1
    parameter = torch.nn.Parameter(values.clone())
    optimizer = make([parameter], lr=1e-3)
    for _ in range(3):
        parameter.grad = torch.where(values != 0, torch.randn(5000), 0.0)
        optimizer.step()
    return (parameter[values == 0] == 0).float().mean().item()


kinds = [(by_gguf, "Q4_0 Q5_0 Q8_0 TQ1_0 TQ2_0", True), (by_gguf, "Q4_1 Q5_1", False),
         (by_hqq, (8, 4, 3, 2), False),
         (by_quanto, "qint8 qfloat8", True), (by_quanto, "qint4 qint2", False),
         (by_torchao, "Int8WeightOnlyConfig IntxWeightOnlyConfig Float8WeightOnlyConfig "
                      "Int8DynamicActivationInt8WeightConfig Int8DynamicActivationIntxWeightConfig", True),
         (by_bitsandbytes, "nf4 fp4", True), (by_bitsandbytes, "blockwise", False)]
changed = []
for make, names, keeps in kinds:
    for name in names.split() if isinstance(names, str) else names:
        left = (make(name)[zero] == 0).float().mean().item()
        print(f"{make.__name__[3:]:14} {name!s:40} {left:7.2%} of the zeros are left")
        if (left == 1) != keeps or (not keeps and left > 0.25):
            changed.append(name)
for name, make, keeps in (("torch Adam", torch.optim.Adam, True), ("Adam8bit", bnb.optim.Adam8bit, False)):
    left = zeros_after_adam(make)
    print(f"{name:14} {'three steps, gradient 0':40} {left:7.2%} of the zeros are left")
    if (left == 1) != keeps or (not keeps and left > 0):
        changed.append(name)
if changed:
    sys.exit(f"this finding does not hold any more: {changed}")
PY
