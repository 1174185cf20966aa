"""Objectives: one contrastive family, estimators of its limit, gathering of ranks. Knows only torch."""

from mmcl.losses.align_max_ent import (
    AlignMaxEnt,
    AlignMaxEntLoss,
    Entropy,
    align_max_ent,
    alignment,
    kernel_entropy,
    nearest_neighbour_entropy,
)
from mmcl.losses.contrastive import (
    Contrastive,
    ContrastiveLoss,
    Normaliser,
    Reduction,
    candidate_count,
    contrastive_loss,
    contrastive_pair,
    mean_squared_norm,
)
from mmcl.losses.distributed import gather_encodings, gather_rows
from mmcl.losses.factor_cl import FactorCL, FactorCLLoss
from mmcl.losses.mmd import MMD, MMDLoss, gaussian_kernel, mmd_loss
from mmcl.losses.options import Negatives
from mmcl.losses.similarity import Similarity, paired_similarity, pairwise_similarity
from mmcl.losses.supervised import SupCon, Supervised, supervised_contrast
from mmcl.losses.terms import Term, contrasts

__all__ = [
    "MMD",
    "AlignMaxEnt",
    "AlignMaxEntLoss",
    "Contrastive",
    "ContrastiveLoss",
    "Entropy",
    "FactorCL",
    "FactorCLLoss",
    "MMDLoss",
    "Negatives",
    "Normaliser",
    "Reduction",
    "Similarity",
    "SupCon",
    "Supervised",
    "Term",
    "align_max_ent",
    "alignment",
    "candidate_count",
    "contrastive_loss",
    "contrastive_pair",
    "contrasts",
    "gather_encodings",
    "gather_rows",
    "gaussian_kernel",
    "kernel_entropy",
    "mean_squared_norm",
    "mmd_loss",
    "nearest_neighbour_entropy",
    "paired_similarity",
    "pairwise_similarity",
    "supervised_contrast",
]
