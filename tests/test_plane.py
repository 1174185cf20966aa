"""The paper's two-dimensional illustration: its numbers, and the laws that are drawn."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcl.plane import BATCHES, COVARIANCE, GRID, laws, rows, sampled_losses, sign_temperature, write_plane
from mmcl.theory import GaussianPair

PAIR = GaussianPair(COVARIANCE, 1)
TABLE = {
    "truth": [None, None, None, 0.66667, 0.83333, 0.66667, 0.83333, 1.5, 1.5, 1.0],
    "inner product, conditional": [0.44444, 0, 0, 0.66667, 1.5, 0.66667, 1.5, 2.7, 2.7, 1.8],
    "squared distance, u given v": [
        0.8, 0.53333, 1.2, 0.66667, 0.83333, 0.42857, 0.53571, 1.16667, 0.75, 0.5,
    ],
    "inner product, joint": [0.33333, 0, 0, 0.5, 1.5, 0.5, 1.5, 2, 2, 1],
    "squared distance, conditional": [
        0.79076, 0.79076, 0.79076, 0.54257, 0.68614, 0.54257, 0.68614, 0.9724, 0.9724, 0.5276,
    ],
    "squared distance, joint": [0.66667, 0.66667, 0.66667, 0.5, 0.75, 0.5, 0.75, 1, 1, 0.5],
}  # fmt: skip
"""The shared notes' table: of the paper's three models from its theorems, of the others from numerical optimisation."""


def test_the_table_to_five_digits():
    found = dict(rows(PAIR))
    assert len(found) == len(TABLE)
    for name, expected in TABLE.items():
        (numbers,) = (x for key, x in found.items() if key.startswith(name))
        for ours, theirs in zip(numbers, expected, strict=True):
            assert math.isnan(ours) if theirs is None else ours == pytest.approx(theirs, abs=6e-6)


def test_drawn_laws_are_laws_and_their_moments_are_the_tables():
    truth, models = laws(PAIR)
    step = GRID[1] - GRID[0]
    for law, (_, numbers) in zip([truth, *models], rows(PAIR), strict=False):
        assert law.density.sum() * step**2 == pytest.approx(1, abs=0.012)  # (of the widest, 1 % is outside)
        mean = (law.u_given_v * GRID).sum() * step
        assert mean == pytest.approx(numbers[3], abs=5e-3)
        assert (law.u_given_v * (GRID - mean) ** 2).sum() * step == pytest.approx(numbers[4], abs=2e-2)
        for marginal, variance in ((law.u, numbers[7]), (law.v, numbers[8])):
            assert (marginal * GRID**2).sum() * step == pytest.approx(
                variance, abs=0.25
            )  # (the tails are outside)


def test_normalised_encoders_keep_the_marginals_and_the_sign():
    """P(same sign) is 0.8808 at tau = 1, and the truth's, 0.7323, at the best, 1/tau = 0.5031."""
    assert sign_temperature(PAIR) == pytest.approx(0.5031, abs=5e-5)
    truth, (*_, at_one, best) = laws(PAIR)
    same = np.outer(GRID, GRID) > 0
    step = GRID[1] - GRID[0]
    for law, share in ((at_one, 0.8808), (best, 0.7323)):
        assert law.density[same].sum() / law.density.sum() == pytest.approx(share, abs=1e-3)
        for ours, true in ((law.u, truth.u), (law.v, truth.v)):
            assert np.abs(ours - true).max() * step < 1e-3


def test_a_batchs_loss_is_the_exact_one_in_the_mean_and_nearer_as_it_grows():
    """Within four standard errors and a bias of 1 / K; from 8 to 2,048 samples the spread is divided by 16, within a
    factor of two and a half, for tails are heavy."""
    found = sampled_losses(PAIR, torch.Generator().manual_seed(1))
    assert len(found) == 5
    for of in found.values():
        for size, losses in of.items():
            assert len(losses) == BATCHES[size]
            assert abs(losses.mean()) < 4 * losses.std(ddof=1) / math.sqrt(len(losses)) + 1 / size
        assert 16 / 2.5 < of[8].std(ddof=1) / of[2048].std(ddof=1) < 16 * 2.5


def test_files_are_written(tmp_path):
    figure, table, sampled, samples = write_plane(tmp_path / "plane")
    for path in (figure, sampled):
        assert path.read_bytes().startswith(b"\x89PNG")
    lines = table.read_text().splitlines()
    assert len(lines) == 8
    assert "0.44444" in lines[3]
    assert len(samples.read_text().splitlines()) == 7


def test_the_stored_page_is_what_the_command_draws(tmp_path):
    stored = Path(__file__).resolve().parents[1] / "results" / "perspective_plane" / "report" / "plane"
    for path in write_plane(tmp_path):
        assert path.read_bytes() == (stored / path.name).read_bytes()
