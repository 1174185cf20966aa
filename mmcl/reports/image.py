"""Figures as the bytes of a PNG or PDF file."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """``figure`` as PNG, at the resolution of all our figures."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """``figure`` as PDF, without the date of drawing: the same figure is the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()
