from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import nn

from mmcl.losses import AlignMaxEnt, Contrastive, Entropy, Negatives, Reduction, gather_rows

WORLD, ROWS = 2, 3
SPECS = [
    *(Contrastive(negatives=n, learned_temperature=True, temperature=0.8) for n in Negatives),
    Contrastive(positive_in_denominator=False, symmetric=False, reduction=Reduction.sum),
    AlignMaxEnt(),
    AlignMaxEnt(entropy=Entropy.nearest_neighbour),
]


def step(spec, rank: int | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Value and parameter gradients on the rows of one rank, or on the global batch for None."""
    g = torch.Generator().manual_seed(0)
    x, y, x_fresh, y_fresh = (
        torch.randn(WORLD * ROWS, 4, generator=g, dtype=torch.float64) for _ in range(4)
    )
    mine = slice(None) if rank is None else slice(rank * ROWS, (rank + 1) * ROWS)
    torch.manual_seed(1)
    model = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}).double()
    loss = spec.build()
    z = {"a": model["a"](x[mine]), "b": model["b"](y[mine])}
    fresh = {"a": model["a"](x_fresh[mine]), "b": model["b"](y_fresh[mine])}
    value = loss(z, fresh if loss.needs_fresh_batch else None)
    value.backward()
    return value.detach(), [p.grad for p in (*model.parameters(), *loss.parameters())]


def on_a_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=WORLD)
    try:
        for index, spec in enumerate(SPECS):
            value, gradients = step(spec, rank)
            for gradient in gradients:  # what DistributedDataParallel does
                dist.all_reduce(gradient)
                gradient /= WORLD
            torch.save((value, gradients), f"{folder}/{index}-{rank}.pt")

        rows = torch.full((2, 1), float(rank), requires_grad=True)
        both = gather_rows(rows)
        assert both.flatten().tolist() == [0.0, 0.0, 1.0, 1.0]
        # Ranks with different losses: rank r weighs all rows by r + 1, and the sum of both arrives.
        (both.sum() * (rank + 1)).backward()
        assert rows.grad.flatten().tolist() == [3.0, 3.0]

        with pytest.raises(ValueError, match="different shapes"):
            gather_rows(torch.zeros(rank + 1, 1))
    finally:
        dist.destroy_process_group()


def test_outside_a_group_rows_are_returned_as_they_are():
    z = torch.zeros(2, 1)
    assert gather_rows(z) is z


@pytest.mark.slow
def test_two_processes_equal_one_in_value_and_averaged_gradient(tmp_path: Path):
    torch.multiprocessing.spawn(on_a_rank, args=(str(tmp_path),), nprocs=WORLD)
    for index, spec in enumerate(SPECS):
        value, gradients = step(spec, None)
        for rank in range(WORLD):
            found, found_gradients = torch.load(tmp_path / f"{index}-{rank}.pt", weights_only=True)
            torch.testing.assert_close(found, value)
            for a, b in zip(found_gradients, gradients, strict=True):
                torch.testing.assert_close(a, b)
