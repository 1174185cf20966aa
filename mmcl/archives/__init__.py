"""Image/text sets and sets of image pairs on disk, in the layout of the published Multimodal3DIdent."""

from mmcl.archives.layout import Kind, Layout
from mmcl.archives.verify import verify

__all__ = ["Kind", "Layout", "verify"]
