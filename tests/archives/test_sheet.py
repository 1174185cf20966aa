import matplotlib.image
import numpy as np
import pytest

from mmcl.archives.generate import Recipe, generate
from mmcl.archives.sheet import sheet
from mmcl.errors import UserError


@pytest.mark.parametrize(("kind", "pairs"), [("image_text", 40), ("image_pairs", 14)])
def test_a_sheet_shows_the_images(tmp_path, kind, pairs):
    root = tmp_path / "set"
    assert generate(root, Recipe(kind=kind, pairs={"val": pairs}, size=12, samples=1), processes=1)
    sheet(root, tmp_path / "sheet.png", 1)
    drawn = matplotlib.image.imread(tmp_path / "sheet.png")[:, :, :3]
    # Each first image's colours stand on the page, as blocks of one value.
    folder = "images" if kind == "image_text" else "images2"
    first = matplotlib.image.imread(next(iter(sorted((root / "val" / folder).glob("*.png")))))
    corner = (np.abs(drawn - first[0, 0]).max(axis=2) < 1 / 255).sum()
    assert corner > 20
    with pytest.raises(UserError, match=r"has fewer than .* pairs"):
        sheet(root, tmp_path / "more.png", 30)
    assert not (tmp_path / "more.png").exists()


@pytest.mark.parametrize("name", ["text/text_raw.txt", "latents_image.csv", "images/00.png"])
def test_a_damaged_archive(tmp_path, name):
    root = tmp_path / "set"
    assert generate(root, Recipe(pairs={"val": 40}, size=12, samples=1), processes=1)
    (root / "val" / name).write_text("shape\n9")
    with pytest.raises(UserError, match=r"val: damaged .*; mmcl data verify .* says where"):
        sheet(root, tmp_path / "sheet.png", 1)


def test_no_archive(tmp_path):
    with pytest.raises(UserError, match="no archive; mmcl data generate"):
        sheet(tmp_path, tmp_path / "sheet.png")
