"""Evaluators: pure functions from representations and true factors to tidy rows. No Lightning, no Hydra."""

from mmcl.evaluators.base import INTERVENTIONS, Evaluator, Objective, Representations, Row
from mmcl.evaluators.classifiers import LogisticRegression, MLPClassifier
from mmcl.evaluators.conditional_moments import ConditionalMoments
from mmcl.evaluators.directions import DirectionRidge
from mmcl.evaluators.fine_tuned import FineTuned
from mmcl.evaluators.gaussian_model import GaussianModel
from mmcl.evaluators.generation import Generation
from mmcl.evaluators.heldout_loss import HeldoutLoss
from mmcl.evaluators.online import linear_r2
from mmcl.evaluators.other_factors import OtherFactors
from mmcl.evaluators.probes import Probe
from mmcl.evaluators.retrieval import Retrieval
from mmcl.evaluators.ridge import KernelRidge, KernelRidgeOfDirection, LinearRegression
from mmcl.evaluators.run import REFERENCES, BatchLike, encode_in_chunks, run_evaluators
from mmcl.evaluators.scores import r2_score
from mmcl.evaluators.shared_dimension import SharedDimension
from mmcl.evaluators.zero_shot import ZeroShot

__all__ = [
    "INTERVENTIONS",
    "REFERENCES",
    "BatchLike",
    "ConditionalMoments",
    "DirectionRidge",
    "Evaluator",
    "FineTuned",
    "GaussianModel",
    "Generation",
    "HeldoutLoss",
    "KernelRidge",
    "KernelRidgeOfDirection",
    "LinearRegression",
    "LogisticRegression",
    "MLPClassifier",
    "Objective",
    "OtherFactors",
    "Probe",
    "Representations",
    "Retrieval",
    "Row",
    "SharedDimension",
    "ZeroShot",
    "encode_in_chunks",
    "linear_r2",
    "r2_score",
    "run_evaluators",
]
