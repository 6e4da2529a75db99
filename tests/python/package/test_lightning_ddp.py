"""The callbacks under strategy="ddp", in two processes that Lightning starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]

# Run by two processes; for each case every process prints a line with a digest of all that it has.
PROGRAM = '''
import hashlib, importlib, logging, sys, warnings
import torch, torch.distributed as dist
from torch import nn
from torchwinnow import CubicDataScheduler, DataNormSparsifier
from torchwinnow.lightning import PostTrainingDataSparsity, TrainingAwareDataSparsity

package, folder, *cases = sys.argv[1:]
pl = importlib.import_module(package)
warnings.filterwarnings("ignore")
warnings.filterwarnings("always", message="without a filter")
for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
torch.set_num_threads(1)


class Module(pl.LightningModule):
    def __init__(self, unused=False):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Embedding(24, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        if unused:
            self.model.add_module("unused", nn.Linear(8, 8, bias=False))

    def training_step(self, batch, batch_idx):
        generator = torch.Generator().manual_seed(1000 * self.current_epoch + 10 * batch_idx + self.global_rank)
        x = torch.randint(0, 24, (8,), generator=generator)
        return nn.functional.mse_loss(self.model[:4](x).squeeze(1), torch.sin(x.float()))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 0.05)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(range(10))


def sparsity(apply_to_model=True, **options):
    return TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)}, CubicDataScheduler,
        {"end_step": 2}, apply_to_model=apply_to_model, **options)


def fit(strategy, callback, epochs, unused=False, **options):
    module = Module(unused)
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=callback, accelerator="cpu", devices=2, strategy=strategy, logger=False,
        default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    trainer.fit(module, **options)
    return trainer, module


def digest(*tensors):
    return hashlib.sha256(b"".join(each.detach().numpy().tobytes() for each in tensors)).hexdigest()[:16]


def tell(case, module, callback):
    sparsifier = callback.data_sparsifier
    masks = [sparsifier.get_mask(name) for name in sparsifier.data_groups]
    sparse = callback.sparsified or module.model
    zeros = float(sparse[0].weight.eq(0).float().mean())
    # What is written at once comes out as one line.
    line = ["RESULT", case, digest(*module.parameters()), digest(*masks), digest(*sparse.parameters()), str(zeros)]
    sys.stdout.write(" ".join(line) + "\\n")
    sys.stdout.flush()


class Tell(pl.Callback):
    """For processes that have the trained model to themselves."""

    def __init__(self, case, callback):
        self.case, self.callback = case, callback

    def on_fit_end(self, trainer, pl_module):
        tell(self.case, pl_module, self.callback)


def held(case, strategy, **options):
    callback = sparsity(**options)
    if case in ("spawn", "fork"):
        fit(strategy, [callback, Tell(case, callback)], 4)
    else:
        _, module = fit(strategy, callback, 4, unused="unused" in strategy)
        tell(case, module, callback)


def resumed(case):
    """In one process group, since Lightning starts processes once: two epochs, then two more."""
    trainer, _ = fit("ddp", sparsity(interval="step", frequency=2), 2)
    trainer.save_checkpoint(folder + "/two.ckpt")
    callback = sparsity(interval="step", frequency=2)
    _, module = fit("ddp", callback, 4, ckpt_path=folder + "/two.ckpt", weights_only=True)
    tell(case, module, callback)


def averaged(case):
    average = importlib.import_module(package + ".callbacks").EMAWeightAveraging(decay=0.9)
    callback = sparsity()
    _, module = fit("ddp", [callback, average], 4)
    tell(case, module, callback)


def second(case):
    trainer, module = fit("ddp", callback := sparsity(), 2)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module)
    tell(case, module, callback)


def post(case):
    callback = PostTrainingDataSparsity(DataNormSparsifier, {"sparsity_level": 0.75, "sparse_block_shape": (1, 1)})
    _, module = fit("ddp", callback, 2)
    tell(case, module, callback)


def static(case):
    strategies = importlib.import_module(package + ".strategies")
    callback = sparsity()
    _, module = fit(strategies.DDPStrategy(static_graph=True, gradient_as_bucket_view=True), callback, 4)
    tell(case, module, callback)


CASES = {
    "ddp": lambda case: held(case, "ddp"),
    "unused": lambda case: held(case, "ddp_find_unused_parameters_true"),
    "step": lambda case: held(case, "ddp", interval="step", frequency=2),
    "copy": lambda case: held(case, "ddp", apply_to_model=False),
    "spawn": lambda case: held(case, "ddp_spawn"),
    "fork": lambda case: held(case, "ddp_fork"),
    "static": static, "resumed": resumed, "averaged": averaged, "second": second, "post": post,
}

if __name__ == "__main__":
    for case in cases:
        CASES[case](case)
'''


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def results(package, tmp_path, *cases):
    """For each case what each process printed: digests of model, masks and sparse model, and zeros."""
    pytest.importorskip(package)
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "GROUP_RANK"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, program, package, tmp_path, *cases], capture_output=True, text=True,
                          timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return {case: [line[2:] for line in lines if line[1] == case] for case in cases}, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_replicas_and_masks_stay_equal_bit_for_bit(tmp_path, package):
    cases = ("ddp", "unused", "static", "step", "copy", "resumed", "averaged", "second", "post")
    found, stderr = results(package, tmp_path, *cases)
    for case, processes in found.items():
        assert len(processes) == 2 and processes[0] == processes[1], case
        assert float(processes[0][-1]) == 0.75, case
    assert found["resumed"][0] == found["step"][0]  # as if it had not been stopped
    assert stderr.count("without a filter") == 11  # fits; the first process alone says it


@pytest.mark.parametrize("strategy", ["spawn", "fork"])
def test_processes_of_one_script_stay_equal_too(tmp_path, strategy):
    """Processes that are spawned or forked take copies of the callback."""
    found, _ = results("lightning.pytorch", tmp_path, strategy)
    processes = found[strategy]
    assert len(processes) == 2 and processes[0] == processes[1]
