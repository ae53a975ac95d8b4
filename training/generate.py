"""Makes pictures with a generator: single images, style mixing, grids."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dnnlib import UserError, tflib
from dnnlib.output import tqdm
from dnnlib.run_dir import make_run_dir
from dnnlib.tflib import Network
from training.image_grid import create_image_grid, save_png

_TO_UINT8 = {"func": tflib.convert_images_to_uint8}
_MINIBATCH = 4


def generate_images(
    Gs: Network,
    seeds: Sequence[int],
    truncation_psi: float,
    result_dir: str,
    label: int | None = None,
) -> str:
    """Writes `seedNNNN.png` for each seed into a new run directory, which is returned.

    Latents, then noise inputs, come from RandomState(seed), as in the official code.

    Args:
        Gs: a generator.
        seeds: 0 to 2^32 - 1.
        truncation_psi: see `G_main`.
        result_dir: root of the run directories.
        label: class of a conditional network; None chooses one by the seed.

    Raises:
        UserError: a seed or label that does not fit.
    """
    if label is not None and not _classes(Gs):
        raise UserError(f"--class={label}: the network has no classes")
    # Deviation: the official code leaves the label empty, which is no class that it was trained on.
    classes = [seed % max(_classes(Gs), 1) if label is None else label for seed in seeds]
    labels = class_labels(Gs, classes)
    for seed in seeds:
        _random_state(seed)
    out_dir = make_run_dir(result_dir, "generate-images")
    noise_vars = [v for n, v in Gs.components.synthesis.vars.items() if n.startswith("noise")]
    progress = tqdm(seeds, desc="Generating", unit="image", disable=None)
    for i, seed in enumerate(progress):
        rnd = _random_state(seed)
        z = rnd.randn(1, *Gs.input_shape[1:])
        shapes = [tflib.shape_to_list(v.shape) for v in noise_vars]
        tflib.set_vars({v: rnd.randn(*s) for v, s in zip(noise_vars, shapes, strict=True)})
        images = Gs.run(
            z,
            labels[i : i + 1],
            truncation_psi=truncation_psi,
            randomize_noise=False,
            output_transform=_TO_UINT8,
        )
        save_png(to_pil(images[0]), os.path.join(out_dir, f"seed{seed:04d}.png"))
    return out_dir


def style_mixing_example(
    Gs: Network,
    row_seeds: Sequence[int],
    col_seeds: Sequence[int],
    truncation_psi: float,
    col_styles: Sequence[int] | None,
    result_dir: str,
) -> str:
    """Writes `ROW-COL.png` and `grid.png` into a new run directory, which is returned.

    Each is the row's image with some styles of the column's.

    Args:
        Gs: a generator.
        row_seeds, col_seeds: of the images that are mixed.
        truncation_psi: see `G_main`.
        col_styles: layers that take the column's style; None for the first seven.
        result_dir: root of the run directories.

    Raises:
        UserError: a layer or seed that does not exist.
    """
    num_layers = Gs.components.synthesis.input_shape[1]
    if col_styles is None:
        col_styles = range(min(7, num_layers))
    outside = [s for s in col_styles if not 0 <= s < num_layers]
    if outside:
        raise UserError(f"--col-styles: layer {outside[0]}, the network has 0 to {num_layers - 1}")
    seeds = list(dict.fromkeys([*row_seeds, *col_seeds]))
    z = np.concatenate([_random_state(s).randn(1, *Gs.input_shape[1:]) for s in seeds])
    labels = class_labels(Gs, [s % max(_classes(Gs), 1) for s in seeds])
    out_dir = make_run_dir(result_dir, "style-mixing-example")
    w = Gs.components.mapping.run(z, labels)
    w_avg = Gs.get_var("dlatent_avg")
    w = dict(zip(seeds, w_avg + (w - w_avg) * truncation_psi, strict=True))

    pairs = [(r, c) for r in row_seeds for c in col_seeds]
    mixed = []
    for row, col in pairs:
        styles = w[row].copy()
        styles[list(col_styles)] = w[col][list(col_styles)]
        mixed.append(styles)
    all_w = np.stack([*(w[s] for s in seeds), *mixed])
    images = Gs.components.synthesis.run(
        all_w,
        randomize_noise=False,
        output_transform=_TO_UINT8,
        minibatch_size=_MINIBATCH,
        print_progress=True,
    )
    picture = dict(zip([(s, s) for s in seeds], images, strict=False))
    picture.update(zip(pairs, images[len(seeds) :], strict=True))
    for (row, col), image in picture.items():
        save_png(to_pil(image), os.path.join(out_dir, f"{row}-{col}.png"))
    blank = np.full_like(images[0], 255)
    cells = [blank, *(images[seeds.index(c)] for c in col_seeds)]
    for row in row_seeds:
        cells += [images[seeds.index(row)], *(picture[row, c] for c in col_seeds)]
    grid = create_image_grid(np.stack(cells), (len(col_seeds) + 1, len(row_seeds) + 1))
    save_png(to_pil(grid), os.path.join(out_dir, "grid.png"))
    return out_dir


def generate_grid(
    Gs: Network,
    grid_size: tuple[int, int],
    seeds: Sequence[int],
    truncation_psi: float,
    out: str,
) -> None:
    """Writes one PNG of many images; for a conditional network each row is one class, in turn.

    Args:
        Gs: a generator.
        grid_size: (columns, rows).
        seeds: one an image; if there are fewer, further ones count on from the last.
        truncation_psi: see `G_main`.
        out: path of the PNG.

    Raises:
        UserError: a seed that does not exist, or the file cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(folder):  # Said before the pictures are made, not after.
        raise UserError(f"cannot write {out}: there is no folder {folder}")
    columns, rows = grid_size
    count = columns * rows
    seeds = list(seeds)[:count]
    seeds += range(seeds[-1] + 1, seeds[-1] + 1 + count - len(seeds))
    z = np.concatenate([_random_state(s).randn(1, *Gs.input_shape[1:]) for s in seeds])
    classes = max(_classes(Gs), 1)
    images = Gs.run(
        z,
        class_labels(Gs, [i // columns % classes for i in range(count)]),
        truncation_psi=truncation_psi,
        randomize_noise=False,
        output_transform=_TO_UINT8,
        minibatch_size=_MINIBATCH,
        print_progress=True,
    )
    save_png(to_pil(create_image_grid(images, grid_size)), out)


def class_labels(Gs: Network, classes: Sequence[int]) -> np.ndarray:
    """One-hot labels float32 [N, label_size]; [N, 0] for a network without labels.

    Raises:
        UserError: a class that the network does not have.
    """
    size = _classes(Gs)
    if not size:
        return np.zeros([len(classes), 0], np.float32)
    for number in classes:
        if not 0 <= number < size:
            raise UserError(f"class {number}: the network has classes 0 to {size - 1}")
    return np.eye(size, dtype=np.float32)[list(classes)]


def to_pil(image: np.ndarray) -> Image.Image:
    """uint8 [C, H, W] as a picture."""
    return Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0))


def _classes(Gs: Network) -> int:
    return Gs.input_shapes[1][1] or 0


def _random_state(seed: int) -> np.random.RandomState:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed}: expected 0 to {2**32 - 1}")
    return np.random.RandomState(seed)
