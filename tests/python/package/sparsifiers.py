"""Data, sparsifiers and schedulers that the tests share."""

import torch
from torch import nn

from torchwinnow.data_scheduler import BaseDataScheduler
from torchwinnow.data_sparsifier import BaseDataSparsifier


def counting(*shape, start=1.0):
    """start, start + 1, ... in the given shape."""
    count = torch.Size(shape).numel()
    return torch.arange(start, start + count).reshape(shape)


class FirstRow(BaseDataSparsifier):
    """Drops the first row, and counts its calls in the state."""

    def update_mask(self, name, data, **config):
        self.get_mask(name)[0] = 0
        self.state[name]["step_count"] = self.state[name].get("step_count", 0) + 1


class BelowThreshold(BaseDataSparsifier):
    """Of the guide: one value of the configuration, named in the signature."""

    def __init__(self, data_list=None, threshold=0.2):
        super().__init__(data_list, threshold=threshold)

    def update_mask(self, name, data, threshold, **kwargs):
        self.get_mask(name)[data.abs() < threshold] = 0


class Doubled(nn.Module):
    """A parametrization of a user's own, with a value that has to be saved."""

    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("factor", torch.tensor(2.0))

    def forward(self, x):
        return self.factor * self.mask * x


class Halving(BaseDataScheduler):
    """The base at epoch 0, then half of what it is."""

    def get_schedule_param(self):
        if self.last_epoch <= 0:
            return self.base_param
        groups = self.data_sparsifier.data_groups
        return {name: group[self.schedule_param] * 0.5 for name, group in groups.items()}


class Doubling(BaseDataScheduler):
    """gamma times what it is, from epoch 1 on; a class of a user's own with arguments."""

    def __init__(self, data_sparsifier, schedule_param="sparsity_level", gamma=2):
        self.gamma = gamma
        super().__init__(data_sparsifier, schedule_param)

    def get_schedule_param(self):
        factor = 1 if self.last_epoch == 0 else self.gamma
        groups = self.data_sparsifier.data_groups
        return {name: group[self.schedule_param] * factor for name, group in groups.items()}


def tensors():
    return [("a", torch.randn(3, 3)), ("b", torch.randn(4, 4)), ("c", torch.randn(5, 5))]


def parameters():
    return [(name, nn.Parameter(tensor)) for name, tensor in tensors()]


def embeddings():
    return [
        ("emb", nn.Embedding(10, 3)),
        ("bag", nn.EmbeddingBag(10, 3)),
        ("emb2", nn.Embedding(20, 3)),
        ("bag2", nn.EmbeddingBag(20, 3)),
    ]
