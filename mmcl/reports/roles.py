"""Which rows of ``results.csv`` count for a factor's role, however many modalities there are."""

from __future__ import annotations


def role_of(target: str, representation: str) -> str | None:
    """The role that a score counts for; ``None``: it is of another modality's encoding.

    A modality's style and modality-specific factors count from that modality's own encoding alone; factors of no
    modality count from every encoding.

    >>> role_of("style.x1", "x1"), role_of("style.x1", "x2"), role_of("content", "x2")
    ('style', None, 'content')
    """
    role, _, owner = target.partition(".")
    return role if owner in ("", representation) else None
