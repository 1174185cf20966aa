"""Which rows of ``results.csv`` count for a factor's role, however many modalities there are."""

from __future__ import annotations


def role_of(target: str, representation: str) -> str | None:
    """The role that a score counts for; ``None``: it is of another modality's encoding.

    A modality's style and modality-specific factors count from that modality's own encoding alone, those that some
    modalities share from these, each such block by itself; factors of no modality count from every encoding.

    >>> role_of("style.x1", "x1"), role_of("style.x1", "x2"), role_of("content", "x2")
    ('style', None, 'content')
    >>> role_of("shared.x1+x3", "x3"), role_of("shared.x1+x3", "x2")
    ('shared.x1+x3', None)
    """
    role, _, owner = target.partition(".")
    owners = owner.split("+")
    if owner and representation not in owners:
        return None
    return target if len(owners) > 1 else role
