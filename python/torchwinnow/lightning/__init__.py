"""Callbacks for Lightning, both `lightning.pytorch` and `pytorch_lightning`.

    from torchwinnow.lightning import TrainingAwareDataSparsity

    sparsity = TrainingAwareDataSparsity(
        DataNormSparsifier, {"sparsity_level": 0.9},
        CubicDataScheduler, {"end_step": 20},
        apply_to_model=True,
    )
    Trainer(max_epochs=30, callbacks=[sparsity]).fit(model, loader)
"""

from .post_training import PostTrainingDataSparsity
from .training_aware import TrainingAwareDataSparsity

__all__ = ["PostTrainingDataSparsity", "TrainingAwareDataSparsity"]
