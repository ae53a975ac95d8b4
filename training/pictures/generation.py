"""Makes pictures with a generator: single images, style mixing, grids."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnnlib import UserError, npz, tflib
from dnnlib.output import tqdm
from dnnlib.run_dir import make_run_dir
from dnnlib.tflib import Network
from training.datasets.photos.arrays import save_png
from training.datasets.photos.arrays import to_picture as to_pil  # As docs/generation.md has it.
from training.latents.noise_maps import noise_restored
from training.latents.truncation import Centers, truncated
from training.pictures.grids import create_image_grid
from training.pictures.provenance import (
    UNKNOWN,
    Provenance,
    classes_to_plain,
    hash_dlatents,
    seeds_to_plain,
    truncation_options,
)
from training.snapshots.class_names import Class, Mix, class_labels, count_classes, label_names

# Noise inputs: drawn from the seed of a picture; as they are in the snapshot; other ones each time;
# none.
NOISE_MODES = ("seed", "const", "random", "none")
TO_UINT8 = {"func": tflib.convert_images_to_uint8}
_MINIBATCH = 4
MOST_PIXELS = 1 << 28  # Of one file; it takes six bytes of memory for each.


def generate_images(
    Gs: Network,
    seeds: Sequence[int],
    truncation_psi: float,
    result_dir: str,
    classes: Sequence[Class] = (),
    outdir: str | None = None,
    noise_mode: str = "seed",
    centers: Centers | None = None,
    provenance: Provenance = UNKNOWN,
) -> str:
    """Writes `seedNNNN.png` for each seed into a new run directory, which is returned.

    Latents, then noise inputs, come from RandomState(seed), as in the official code. Several
    classes make `seedNNNN-CLASS-NAME.png` for each seed and class.

    Args:
        Gs: a generator.
        seeds: 0 to 2^32 - 1.
        truncation_psi: see `G_main`.
        result_dir: root of the run directories.
        classes: of a conditional network; without any, one is chosen by the seed.
        outdir: folder to write to, in the place of a new run directory.
        noise_mode: one of NOISE_MODES.
        centers: what truncation draws w to; None: the mean of all w.
        provenance: what pictures say of themselves.

    Raises:
        UserError: a seed or class that does not fit, or the folder cannot be made.
    """
    # Deviation: the official code leaves the label empty, which is no class that it was trained on.
    pairs = [(seed, c) for seed in seeds for c in classes or [seed % max(count_classes(Gs), 1)]]
    labels = class_labels(Gs, [c for _, c in pairs])
    for seed in seeds:
        random_state(seed)
    out_dir = make_folder(result_dir, "generate-images", outdir)
    done = 0
    try:
        with noise_restored(Gs.components.synthesis):  # Other pictures are made with it.
            for seed, number in tqdm(pairs, desc="Generating", unit="image", disable=None):
                label = labels[done : done + 1]
                image = image_of_seed(
                    Gs, seed, label, truncation_psi, noise_mode, centers, output_transform=TO_UINT8
                )
                suffix = f"-{class_file_name(Gs, number)}" if len(classes) > 1 else ""
                xmp = provenance.xmp(
                    "generate-images",
                    f"seed{seed:04d}.png",
                    seeds=[seed],
                    classes=classes_to_plain([number]) if label.size else None,
                    noise_mode=noise_mode,
                    **truncation_options(truncation_psi, centers),
                )
                save_png(to_pil(image), os.path.join(out_dir, f"seed{seed:04d}{suffix}.png"), xmp)
                done += 1
    except KeyboardInterrupt:
        _say_what_there_is(done, len(pairs), out_dir)
        raise
    return out_dir


def image_of_seed(
    Gs: Network,
    seed: int,
    label: np.ndarray,
    truncation_psi: float,
    noise_mode: str = "seed",
    centers: Centers | None = None,
    **options: Any,
) -> np.ndarray:
    """The image [C, H, W] of a seed, as in the official code.

    Latents, then noise inputs, come from RandomState(seed); the latter stay in the network.

    Args:
        Gs: a generator.
        seed: 0 to 2^32 - 1.
        label: [1, label_size].
        truncation_psi: see `G_main`.
        noise_mode: one of NOISE_MODES.
        centers: what truncation draws w to; None: the mean of all w.
        options: for `Network.run`.
    """
    rnd = random_state(seed)
    z = rnd.randn(1, *Gs.input_shape[1:])
    noise_vars = _noise_vars(Gs)
    shapes = [tflib.shape_to_list(v.shape) for v in noise_vars]
    if noise_mode == "seed":
        tflib.set_vars({v: rnd.randn(*s) for v, s in zip(noise_vars, shapes, strict=True)})
    elif noise_mode == "none":
        _set_no_noise(Gs)
    options |= {"randomize_noise": noise_mode == "random"}
    return _images(Gs, z, label, truncation_psi, centers, **options)[0]


def _noise_vars(Gs: Network) -> list[Any]:
    return [v for n, v in Gs.components.synthesis.vars.items() if n.startswith("noise")]


def _set_no_noise(Gs: Network) -> None:
    tflib.set_vars({v: np.zeros(tflib.shape_to_list(v.shape)) for v in _noise_vars(Gs)})


def generate_from_dlatents(
    Gs: Network,
    dlatents_npz: str,
    result_dir: str,
    outdir: str | None = None,
    provenance: Provenance = UNKNOWN,
    noise_mode: str = "const",
) -> str:
    """Writes `dlatentNN.png` for each w of a file into a new run directory, which is returned.

    Args:
        Gs: a generator.
        dlatents_npz: file with an array [N, num_layers, dlatent_size] `dlatents`, as the projector
            of the ADA repository writes it, or `w`, as that of the PyTorch repository does.
        result_dir: root of the run directories.
        outdir: folder to write to, in the place of a new run directory.
        provenance: what pictures say of themselves.
        noise_mode: one of NOISE_MODES but "seed": there is none.

    Raises:
        UserError: the file is missing, damaged or does not fit, or the folder cannot be made.
    """
    dlatents = read_dlatents(dlatents_npz, Gs.components.synthesis.input_shape[1:])
    out_dir = make_folder(result_dir, "generate-images", outdir)
    with noise_restored(Gs.components.synthesis):
        if noise_mode == "none":
            _set_no_noise(Gs)
        for number, w in enumerate(tqdm(dlatents, desc="Generating", unit="image", disable=None)):
            images = Gs.components.synthesis.run(
                w[np.newaxis],
                randomize_noise=noise_mode == "random",
                output_transform=TO_UINT8,
            )
            name = f"dlatent{number:02d}.png"
            about = {"dlatents": hash_dlatents(w), "noise_mode": noise_mode}
            xmp = provenance.xmp("generate-images", name, **about)
            save_png(to_pil(images[0]), os.path.join(out_dir, name), xmp)
    return out_dir


def style_mixing_example(
    Gs: Network,
    row_seeds: Sequence[int],
    col_seeds: Sequence[int],
    truncation_psi: float,
    col_styles: Sequence[int] | None,
    result_dir: str,
    classes: Sequence[Class] = (),
    outdir: str | None = None,
    minibatch_size: int = _MINIBATCH,
    provenance: Provenance = UNKNOWN,
) -> str:
    """Writes `ROW-COL.png` and `grid.png` into a new run directory, which is returned.

    Each is the row's image with some styles of the column's.

    Args:
        Gs: a generator.
        row_seeds, col_seeds: of the images that are mixed.
        truncation_psi: see `G_main`.
        col_styles: layers that take the column's style; None for the first seven.
        result_dir: root of the run directories.
        classes: of a conditional network, given to the seeds in turn, those of the rows first;
            without any, one is chosen by the seed.
        outdir: folder to write to, in the place of a new run directory.
        minibatch_size: pictures at once.
        provenance: what pictures say of themselves.

    Raises:
        UserError: a layer, seed or class that does not exist, or the folder cannot be made.
    """
    num_layers = Gs.components.synthesis.input_shape[1]
    if col_styles is None:
        col_styles = range(min(7, num_layers))
    outside = [s for s in col_styles if not 0 <= s < num_layers]
    if outside:
        raise UserError(f"--col-styles: layer {outside[0]}, the network has 0 to {num_layers - 1}")
    check_pixels(Gs, len(col_seeds) + 1, len(row_seeds) + 1, "--col-seeds, --row-seeds")
    seeds = list(dict.fromkeys([*row_seeds, *col_seeds]))
    z = np.concatenate([random_state(s).randn(1, *Gs.input_shape[1:]) for s in seeds])
    labels = class_labels(Gs, classes_of_seeds(Gs, seeds, classes))

    def xmp(name: str) -> bytes | None:
        return provenance.xmp(
            "style-mixing-example",
            name,
            row_seeds=seeds_to_plain(row_seeds),
            col_seeds=seeds_to_plain(col_seeds),
            col_styles=col_styles,
            classes=classes_to_plain(classes) or None,
            minibatch_size=minibatch_size,
            truncation_psi=float(truncation_psi),
        )

    out_dir = make_folder(result_dir, "style-mixing-example", outdir)
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
    names = [*((s, s) for s in seeds), *pairs]
    images: list[np.ndarray] = []
    try:
        with tqdm(total=len(names), desc="Generating", unit="image", disable=None) as progress:
            for begin in range(0, len(names), minibatch_size):
                made = Gs.components.synthesis.run(
                    all_w[begin : begin + minibatch_size],
                    randomize_noise=False,
                    output_transform=TO_UINT8,
                )
                for image in made:
                    row, col = names[len(images)]
                    name = f"{row}-{col}.png"
                    save_png(to_pil(image), os.path.join(out_dir, name), xmp(name))
                    images.append(image)
                progress.update(len(made))
    except KeyboardInterrupt:
        _say_what_there_is(len(images), len(names), out_dir)
        raise
    picture = dict(zip(names, images, strict=True))
    blank = np.full_like(images[0], 255)
    cells = [blank, *(picture[c, c] for c in col_seeds)]
    for row in row_seeds:
        cells += [picture[row, row], *(picture[row, c] for c in col_seeds)]
    grid = create_image_grid(np.stack(cells), (len(col_seeds) + 1, len(row_seeds) + 1))
    save_png(to_pil(grid), os.path.join(out_dir, "grid.png"), xmp("grid.png"))
    return out_dir


def generate_grid(
    Gs: Network,
    grid_size: tuple[int, int],
    seeds: Sequence[int],
    truncation_psi: float,
    out: str,
    classes: Sequence[Class] = (),
    centers: Centers | None = None,
    provenance: Provenance = UNKNOWN,
) -> list[Class]:
    """Writes one PNG of many images; for a conditional network each row is one class, in turn.

    Args:
        Gs: a generator.
        grid_size: (columns, rows).
        seeds: one an image; if there are fewer, further ones count on from the last.
        truncation_psi: see `G_main`.
        out: path of the PNG.
        classes: those of the rows, in turn; without any, all.
        centers: what truncation draws w to; None: the mean of all w.
        provenance: what pictures say of themselves.

    Returns:
        The class of each row; empty for a network without classes.

    Raises:
        UserError: a seed or class that does not exist, or the file cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(folder):  # Said before the pictures are made, not after.
        raise UserError(f"cannot write {out}: there is no folder {folder}")
    xmp = provenance.xmp(
        "generate-grid",
        "grid.png",
        grid=grid_size,
        seeds=seeds_to_plain(seeds),
        classes=classes_to_plain(classes) or None,
        **truncation_options(truncation_psi, centers),
    )
    columns, rows = grid_size
    check_pixels(Gs, columns, rows, f"--grid={columns}x{rows}")
    count = columns * rows
    seeds = list(seeds)[:count]
    seeds += range(seeds[-1] + 1, seeds[-1] + 1 + count - len(seeds))
    z = np.concatenate([random_state(s).randn(1, *Gs.input_shape[1:]) for s in seeds])
    every = list(classes) or list(range(count_classes(Gs))) or [0]
    row_classes = [every[row % len(every)] for row in range(rows)]
    images = _images(
        Gs,
        z,
        class_labels(Gs, [c for c in row_classes for _ in range(columns)]),
        truncation_psi,
        centers,
        randomize_noise=False,
        output_transform=TO_UINT8,
        minibatch_size=_MINIBATCH,
        print_progress=True,
    )
    save_png(to_pil(create_image_grid(images, grid_size)), out, xmp)
    return row_classes if count_classes(Gs) else []


def check_pixels(Gs: Network, columns: int, rows: int, option: str) -> None:
    """Raises a UserError if a picture of so many pictures is too large to be made.

    Args:
        Gs: a generator.
        columns, rows: of pictures.
        option: what to change, for the message.
    """
    height, width = Gs.output_shape[2:]
    if columns * width * rows * height > MOST_PIXELS:
        raise UserError(
            f"{option}: {columns}x{rows} pictures of {width}x{height} have "
            f"{columns * width * rows * height / 1e6:,.0f} million pixels: at most "
            f"{MOST_PIXELS / 1e6:.0f} million fit in one file"
        )


def classes_of_seeds(Gs: Network, seeds: Sequence[int], classes: Sequence[Class]) -> list[Class]:
    """The class of each seed: the given ones in turn, or the seed modulo their number."""
    if classes:
        return [classes[i % len(classes)] for i in range(len(seeds))]
    return [seed % max(count_classes(Gs), 1) for seed in seeds]


def _images(
    Gs: Network,
    z: np.ndarray,
    labels: np.ndarray,
    psi: float,
    centers: Centers | None,
    **options: Any,
) -> np.ndarray:
    """What `Network.run` makes with those options, by truncation to centers if there are any."""
    if centers is None or centers.kind == "global":
        return Gs.run(z, labels, truncation_psi=psi, **options)
    return Gs.components.synthesis.run(truncated(Gs, z, labels, psi, centers), **options)


def make_folder(result_dir: str, desc: str, outdir: str | None) -> str:
    """A new run directory in `result_dir`, or `outdir` itself."""
    if outdir is None:
        return make_run_dir(result_dir, desc)
    try:
        os.makedirs(outdir, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make --outdir={outdir}: {error.strerror}") from error
    return outdir


def read_dlatents(path: str, shape: Sequence[int]) -> np.ndarray:
    """The array `dlatents` or `w` of a file, float32 [N, num_layers, dlatent_size]."""
    arrays = npz.read_option("--dlatents", path)
    dlatents = arrays.get("dlatents", arrays.get("w"))
    if dlatents is None or dlatents.dtype.kind != "f" or list(dlatents.shape[1:]) != list(shape):
        found = "nothing" if dlatents is None else f"{dlatents.dtype} {list(dlatents.shape)}"
        raise UserError(
            f"--dlatents={path}: expected an array dlatents of floats [N, {shape[0]}, {shape[1]}], "
            f"as the network's synthesis takes them, got {found}"
        )
    return dlatents.astype(np.float32)


def class_file_name(Gs: Network, number: Class) -> str:
    """A class in the name of a file."""
    if isinstance(number, Mix):
        return "mix-" + "-".join(f"{c}_{share:g}" for c, share in number.shares)
    names = label_names(Gs)
    name = re.sub(r"\W+", "_", names[number])[:60].strip("_") if names else ""
    return f"{number}-{name}" if name else str(number)


def _say_what_there_is(done: int, total: int, out_dir: str) -> None:
    print(f"{done} of {total} pictures are in {out_dir}", file=sys.stderr)


def random_state(seed: int) -> np.random.RandomState:
    """The random numbers of a picture.

    Raises:
        UserError: a seed that there is not.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed}: expected 0 to {2**32 - 1}")
    return np.random.RandomState(seed)
