"""Two real processes of gloo against one that has the whole batch: every preset, value and gradient."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch import distributed as dist

from mmcl import losses
from mmcl.losses import (
    AlignMaxEnt,
    Contrastive,
    Entropy,
    Negatives,
    Normaliser,
    Reduction,
    gather_encodings,
    gather_rows,
)

WORLD, ROWS, WIDTH = 2, 8, 5
BF16_ROUNDING = 2.0**-8
"""Half a unit in the last place of a bfloat16 number, over the number."""


def presets() -> dict[str, Any]:
    """Every preset of ``conf/loss``, and with a learned temperature where it may have one."""
    found = {}
    for path in sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml")):
        node = OmegaConf.load(path)
        schema = getattr(losses, node.pop("_target_").rpartition(".")[2])
        node = OmegaConf.merge(
            node, {"encoding_size": WIDTH} if "encoding_size" in node else {}
        )  # the encoders'
        spec = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), node))
        found[path.stem] = spec
        if isinstance(spec, Contrastive):
            found[f"{path.stem}, learned temperature"] = replace(
                spec, learned_temperature=True, temperature=0.8
            )
    return found


SPECS = presets() | {
    **{
        f"{n.name}, {m.name}": Contrastive(
            negatives=n, normaliser=m, learned_temperature=True, norm_penalty=0.1, alignment_weight=2.0
        )
        for n in Negatives
        for m in Normaliser
    },
    "no positive": Contrastive(
        positive_in_denominator=False, weight_second_given_first=0.0, reduction=Reduction.sum
    ),
    "nearest neighbour": AlignMaxEnt(entropy=Entropy.nearest_neighbour),
}
CASES = {"float64": torch.float64, "float32": torch.float32, "bf16": torch.float32}


def step(spec: Any, case: str, rank: int | None) -> tuple[Tensor, list[Tensor]]:
    """Value and parameter gradients on the rows of one rank, or on the global batch for None."""
    g = torch.Generator().manual_seed(0)
    dtype = CASES[case]
    x, y, x_fresh, y_fresh = (torch.randn(WORLD * ROWS, 4, generator=g, dtype=dtype) for _ in range(4))
    labels = torch.randint(2, (WORLD * ROWS, 1), generator=g)
    mine = slice(None) if rank is None else slice(rank * ROWS, (rank + 1) * ROWS)
    torch.manual_seed(1)
    model = nn.ModuleDict({"x1": nn.Linear(4, WIDTH), "x2": nn.Linear(4, WIDTH)}).to(dtype)
    loss = spec.build().to(dtype)
    with torch.autocast("cpu", torch.bfloat16) if case == "bf16" else nullcontext():
        z = {}
        for draw in getattr(spec, "draws", (0,)):
            at = f"@{draw}" if draw else ""
            z[f"x1{at}"], z[f"x2{at}"] = (
                model["x1"](x[mine] + draw * x_fresh[mine]),
                model["x2"](y[mine] - draw),
            )
            if getattr(spec, "terms", ()) or hasattr(loss, "label"):
                z[f"x1+x2{at}"] = z[f"x1{at}"] + z[f"x2{at}"]
            if hasattr(loss, "label"):
                del z[f"x1{at}"], z[f"x2{at}"]
        second = None
        if hasattr(loss, "label"):
            second = gather_rows(labels[mine])
        elif getattr(loss, "needs_fresh_batch", False):
            second = gather_encodings({"x1": model["x1"](x_fresh[mine]), "x2": model["x2"](y_fresh[mine])})
        elif getattr(loss, "needs_views", False):
            second = gather_encodings({"x1": x[mine], "x2": y[mine]})
        value = loss(gather_encodings(z), second)
    value.backward()
    return value.detach(), [p.grad for p in (*model.parameters(), *loss.parameters())]


def on_a_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=WORLD)
    try:
        found = {}
        for name, spec in SPECS.items():
            for case in CASES:
                value, own = step(spec, case, rank)
                averaged = [gradient.clone() for gradient in own]
                for gradient in averaged:  # what DistributedDataParallel does
                    dist.all_reduce(gradient)
                    gradient /= WORLD
                found[f"{name}: {case}"] = (value, averaged, own)
        torch.save(found, f"{folder}/{rank}.pt")

        rows = torch.full((2, 1), float(rank), requires_grad=True)
        both = gather_rows(rows)
        assert both.flatten().tolist() == [0.0, 0.0, 1.0, 1.0]
        # Ranks with different losses: rank r weighs all rows by r + 1, and the sum of both arrives.
        (both.sum() * (rank + 1)).backward()
        assert rows.grad.flatten().tolist() == [3.0, 3.0]

        named = {"a": torch.full((2, 3), float(rank)), "b": torch.full((2, 2, 2), -1.0 - rank)}
        shapes = {name: tuple(rows.shape) for name, rows in gather_encodings(named).items()}
        assert shapes == {"a": (4, 3), "b": (4, 2, 2)}
        assert gather_encodings(named)["b"][:, 0, 0].tolist() == [-1.0, -1.0, -2.0, -2.0]

        with pytest.raises(ValueError, match="different shapes"):
            gather_rows(torch.zeros(rank + 1, 1))
    finally:
        dist.destroy_process_group()


def test_outside_a_group_rows_are_returned_as_they_are():
    z = torch.zeros(2, 1)
    assert gather_rows(z) is z
    assert gather_encodings({"a": z})["a"] is z


@pytest.mark.slow
def test_two_processes_equal_one_in_value_and_averaged_gradient(tmp_path: Path):
    torch.multiprocessing.spawn(on_a_rank, args=(str(tmp_path),), nprocs=WORLD)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    assert len(ranks[0]) == len(SPECS) * len(CASES)
    for name, spec in SPECS.items():
        for case in CASES:
            value, gradients = step(spec, case, None)
            own = [rank[f"{name}: {case}"][2] for rank in ranks]
            for rank in ranks:
                found, averaged, _ = rank[f"{name}: {case}"]
                for i, (a, b) in enumerate(zip([found, *averaged], [value, *gradients], strict=True)):
                    if case == "bf16" and i > 0:
                        # A parameter's gradient is a sum in bfloat16: each rank's is rounded, and so is the whole
                        # batch's. And a row's gradient that differs in float32's last bit may be rounded the other way.
                        largest = max(float(part[i - 1].abs().max()) for part in own)
                        tolerance = {"rtol": 0.0, "atol": 4 * BF16_ROUNDING * largest}
                    else:
                        # The nearest neighbour's distance is a difference of products, whose last bits differ on some
                        # processors with the number of rows (6e-6 seen, of 1.8).
                        bound = 1e-12 if case == "float64" else 1e-5 if name == "nearest neighbour" else 1e-6
                        tolerance = {"rtol": bound, "atol": bound}
                    torch.testing.assert_close(
                        a, b, **tolerance, msg=lambda m, where=f"{name}, {case}, {i}: ": where + m
                    )
