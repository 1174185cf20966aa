"""CoMM's fusion, and FactorCL's critics, against the same sums written plainly."""

from __future__ import annotations

import torch
from measure import ratio, report, times
from torch import Tensor

from mmcl.encoders.fusion import Transformer, TransformerFusion
from mmcl.encoders.tokens import Tokens
from mmcl.losses.factor_cl import Critic

PAIRS, HIDDEN = 128, 512
ROWS, TOKENS, WIDTH = 256, 2, 64
"""Of comm/trifeature: two draws of 128 samples, a token of each of two vectors."""


def whole_blocks(fusion: TransformerFusion, x: Tensor) -> Tensor:
    """All tokens through all blocks, of which the first is then kept."""
    x = torch.cat([fusion.class_token.expand(len(x), 1, -1), x], dim=1)
    for block in fusion.blocks:
        x = block(x)
    encoding: Tensor = fusion.norm(x[:, 0])
    return encoding


def main() -> None:
    torch.manual_seed(0)
    critic = Critic(12, HIDDEN)
    a, b = (torch.randn(PAIRS, 12, requires_grad=True) for _ in range(2))

    def plain() -> Tensor:
        pairs: Tensor = critic.out(torch.relu(critic.of_a(a)[:, None] + critic.of_b(b)))
        return pairs.sum()

    in_parts, whole = times(
        lambda: critic(a, b).sum().backward(), lambda: plain().backward(), repeats=21, warmup=3
    )
    fusion = TransformerFusion(WIDTH, Transformer())
    tokens = torch.randn(ROWS, TOKENS, WIDTH, requires_grad=True)
    first, every = times(
        lambda: fusion({"x": Tokens(tokens)}).sum().backward(),
        lambda: whole_blocks(fusion, tokens).sum().backward(),
        repeats=51,
        warmup=3,
    )
    report(
        ratio(
            f"a critic of FactorCL, {PAIRS} x {PAIRS} pairs, {HIDDEN} hidden units, both passes",
            in_parts,
            "autograd of the whole",
            whole,
        ),
        ratio(
            f"CoMM's fusion, {ROWS} x {TOKENS + 1} tokens, both passes",
            first,
            "all tokens through the block",
            every,
        ),
    )


if __name__ == "__main__":
    main()
