"""Pictures of flows on the torus, and of paths in them."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np


def stream_functions(coefficients: np.ndarray, waves: np.ndarray, size: int) -> np.ndarray:
    """``Re sum_k c_k exp(2 pi i k.x)`` on a grid of the unit square: ``(n, size, size)``, x_2 growing downwards.

    Args:
        coefficients: ``(n, modes)``, complex.
        waves: ``(modes, 2)``, k.
        size: points of a side, at the middles of as many pixels.
    """
    middles = (np.arange(size) + 0.5) / size
    along, down = (np.exp(2j * math.pi * np.outer(k, middles)) for k in waves.T)  # (modes, size) each
    return np.einsum("nk,ka,kb->nba", coefficients, along, down, optimize=True).real


def flow_pictures(
    coefficients: np.ndarray, waves: np.ndarray, start: np.ndarray, size: int = 128
) -> np.ndarray:
    """Stream functions, each on a scale of its own, blue below 0 and red above: ``(n, 3, size, size)``, uint8.

    Where drifters start, ``(2,)``, is a black square of five pixels.
    """
    psi = stream_functions(coefficients, waves, size)
    largest = np.abs(psi).max(axis=(1, 2), keepdims=True)
    colours = mpl.colormaps["RdBu_r"](0.5 + 0.5 * psi / np.where(largest > 0, largest, 1))
    pictures = (255 * colours[..., :3]).round().astype(np.uint8)
    column, row = np.floor(start * size).astype(int)
    around = np.arange(-2, 3)
    pictures[:, (row + around)[:, None] % size, (column + around) % size] = 0
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


def path_pictures(paths: np.ndarray, start: np.ndarray, size: int = 128, between: int = 20) -> np.ndarray:
    """Paths on the torus, three pixels wide, from dark (its start) to bright: ``(n, 3, size, size)``, uint8, on white.

    Args:
        paths: ``(n, T, 2)``, not modulo 1.
        start: ``(2,)``.
        size: of the pictures.
        between: points that are drawn for each position.
    """
    n = len(paths)
    whole = np.concatenate([np.broadcast_to(start, (n, 1, 2)), paths], axis=1)
    share = (np.arange(between) / between)[:, None]
    fine = (whole[:, :-1, None] * (1 - share) + whole[:, 1:, None] * share).reshape(n, -1, 2)
    fine = np.concatenate([fine, whole[:, -1:]], axis=1)
    pixels = np.floor((fine % 1.0) * size).astype(int) % size
    colours = (255 * mpl.colormaps["viridis"](np.linspace(0, 0.95, fine.shape[1]))[:, :3]).round()
    pictures = np.full((n, size, size, 3), 255, dtype=np.uint8)
    rows, beside = np.arange(n)[:, None, None], np.arange(-1, 2)
    for point in range(fine.shape[1]):  # later ones lie above
        across, down = pixels[:, point].T
        down = (down[:, None, None] + beside[:, None]) % size
        pictures[rows, down, (across[:, None, None] + beside) % size] = colours[point]
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
