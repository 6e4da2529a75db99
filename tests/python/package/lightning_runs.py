"""What the tests of the callbacks share: a small model, and how it is trained."""

import pytest
import torch
from torch import nn

from torchwinnow.data_scheduler import CubicDataScheduler
from torchwinnow.data_sparsifier import DataNormSparsifier

callbacks = pytest.importorskip("torchwinnow.lightning")
PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


@pytest.fixture(params=PACKAGES)
def pl(request):
    """One Lightning after the other."""
    return pytest.importorskip(request.param)


# For what does not depend on which Lightning it is.
once = pytest.mark.parametrize("pl", PACKAGES[:1], indirect=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(40, 8)
        self.hidden = nn.Linear(8, 8)  # with a bias
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        return self.out(self.hidden(self.table(x)).relu())


def make_module(pl, attribute="net", optimizer=torch.optim.Adam):
    """A LightningModule whose model hangs under `attribute`; "": it is the model itself."""

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            if attribute:
                setattr(self, attribute, Net())
            else:
                self.first = nn.Linear(1, 4)
                self.last = nn.Linear(4, 1)

        def forward(self, x):
            if attribute:
                return getattr(self, attribute)(x)
            return self.last(self.first(x.float().unsqueeze(1)).relu())

        def training_step(self, batch, batch_idx):
            # Of two numbers only, so that a run can go on in the middle of an epoch.
            generator = torch.Generator().manual_seed(1000 * self.current_epoch + batch_idx)
            x = torch.randint(0, 40, (8,), generator=generator)
            y = torch.sin(x.float())
            return nn.functional.mse_loss(self(x).squeeze(1), y)

        def configure_optimizers(self):
            options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
            return optimizer(self.parameters(), lr=0.05, weight_decay=0.01, **options)

        def train_dataloader(self):
            return torch.utils.data.DataLoader(range(8), batch_size=1)

    return Module()


def fit(pl, module, callback, epochs, tmp_path, ckpt_path=None, **options):
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[callback, *options.pop("more", [])], accelerator="cpu",
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
        logger=options.pop("logger", False), enable_checkpointing=options.pop("checkpoints", False),
        log_every_n_steps=1, **options)
    trainer.fit(module, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def held(**options):
    """A callback that masks the model itself, up to 75 % at epoch 3."""
    return callbacks.TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)},
        CubicDataScheduler, {"end_step": 3}, apply_to_model=True, **options)


def zeros(tensor):
    return tensor.eq(0).float().mean().item()
