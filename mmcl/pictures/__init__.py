"""What encodings hold, as pictures of samples: nearest neighbours, draws, predicted factors, maps."""

from mmcl.pictures.cells import Shown
from mmcl.pictures.classes import draw_classes
from mmcl.pictures.draws import draw_draws
from mmcl.pictures.maps import draw_maps
from mmcl.pictures.neighbours import draw_neighbours
from mmcl.pictures.predictions import draw_predictions

__all__ = ["Shown", "draw_classes", "draw_draws", "draw_maps", "draw_neighbours", "draw_predictions"]
