"""Batches of image/text pairs: from our packed archive, against a loader that opens each image and spells each word."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import ratio, report, times
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

from mmcl.archives.generate import Recipe, generate
from mmcl.archives.layout import Kind, Layout
from mmcl.archives.words import Vocabulary, longest, tokens
from mmcl.config.compose import compose_one
from mmcl.config.schema import validate_train
from mmcl.data import BatchStream
from mmcl.experiment import make_module
from mmcl.random import Stream, generator

PAIRS, BATCH, BATCHES = 1024, 256, 4


class OneByOne(Dataset):
    """The usual way, and the authors': an item decodes its PNG into floats and writes its words as one-hot rows."""

    def __init__(self, folder: Path, pairs: int) -> None:
        self.layout = Layout(Kind.image_text, folder, pairs)
        self.lines = self.layout.text.read_text().split("\n")
        self.vocabulary = Vocabulary.of(self.lines)
        self.numbers = {word: k for k, word in enumerate(self.vocabulary.words)}
        self.length = longest(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(self.layout.image("image", index)) as image:
            pixels = (to_tensor(image.convert("RGB")) - 0.3) / 0.15
        text = np.zeros((self.length, len(self.vocabulary)), dtype=np.float32)
        for place, word in enumerate(tokens(self.lines[index])):
            text[place, self.numbers[word]] = 1
        return pixels, torch.from_numpy(text)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "m3di"
        generate(folder, Recipe(pairs={"train": PAIRS, "val": 32, "test": 32}), processes=2)
        config = validate_train(
            compose_one(
                "train", ["experiment=image_text/quick", f"data.folder={folder}", "trainer.max_steps=100"]
            )
        )
        world = config.data.restore(config.data.draw(generator(0, Stream.WORLD)).state_dict())
        stream = BatchStream(world, 0, BATCH)
        loaders = [
            DataLoader(
                OneByOne(folder / "train", PAIRS), BATCH, shuffle=True, num_workers=workers,
                persistent_workers=workers > 0,
            )
            for workers in (0, 2)
        ]  # fmt: skip

        def ours() -> None:
            for k in range(BATCHES):
                stream.batch(k)

        def theirs(loader: DataLoader) -> None:
            for _ in loader:
                pass

        mine, alone, two = times(ours, lambda: theirs(loaders[0]), lambda: theirs(loaders[1]))
        what = f"{BATCHES} batches of {BATCH} image/text pairs, 64 x 64, no worker process"
        report(
            ratio(what, mine, "PNG by PNG and one-hot words, no worker process", alone),
            ratio(what, mine, "the same with two worker processes", two),
        )
        module = make_module(config, world)
        optimizer = module.configure_optimizers()["optimizer"]
        batch = stream.batch(0)[0]

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = module.loss(batch, None)
            loss.backward()
            optimizer.step()

        one, steps = times(lambda: stream.batch(1), step)
        report(ratio("one such batch", one, "the step of image_text/quick that it is for", steps))


if __name__ == "__main__":
    main()
