"""From a folder of photos to what a run needs: a dataset, a resolution, a size of the networks.

What is chosen follows from the photos, the machine and the time, and is said with the reason;
options that the user gives come first.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dnnlib import UserError
from dnnlib.files import open_regular
from dnnlib.output import tqdm
from dnnlib.util import format_time
from training.architecture.precision import lower_dtype
from training.architecture.sizes import resolution_log2
from training.config.comparison_methods import find_method
from training.config.options import TrainingOptions
from training.config.presets import PRESETS, preset
from training.config.schedule import DEFAULT_GROUP, check_schedule
from training.datasets.building.output import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.items import Item
from training.datasets.photos.decode import Unreadable, open_image
from training.datasets.sources.images import (
    count_folders,
    create_from_images,
    images_source,
)
from training.run.plan import convolution_speed
from training.snapshots import pretrained

_RESOLUTIONS = (1024, 512, 256, 128, 64, 32)
_LEAST_PHOTOS = 4
_LOOKED_AT = 500  # Photos whose size is read.
_FEW = 4000  # Photos, up to which a network that knows products helps.
_START = "clothing-64"
# Options that make other networks of it, unless they have the values that are chosen anyway.
_SHAPING = ("config", "fmap_base", "fmap_max", "latent_size", "mapping_layers", "cmethod", "dcap")
_SHAPING += ("G_func", "D_func")
# Photos of a class, on average, that make classes worth learning.
_LEAST_OF_CLASS = 10
_HELD_OUT, _MOST_HELD_OUT = 0.1, 300
# Thousand images that networks of 64×64 need to show textures; twice as many at twice the size.
_NEEDED_KIMG = 500
# A convolution of both networks is computed so often for an image, with its gradients and theirs.
_PASSES = 13
# Of what one plain convolution reaches, so much does a step: in lower precision, and in float32.
_EFFICIENCY = {True: 0.8, False: 0.55}
# Of the time, for what comes after the training: a tenth, and so many seconds, but half at most.
_RESERVED, _RESERVED_SECONDS = 0.1, (60.0, 600.0)
_LONGEST_KIMG = 25_000
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Size:
    """Of both networks, as the options of the same names.

    Attributes:
        name: for people.
        fmap_base, fmap_max, latent_size: None: what the configuration says.
        needs: how much longer than small networks it has to train.
        most: resolution beyond which such networks have too few maps.
    """

    name: str
    fmap_base: int | None
    fmap_max: int | None
    latent_size: int | None
    needs: float
    most: int


_SIZES = (
    Size("full", None, None, None, 4.0, 1024),
    Size("medium", 2048, 128, 128, 1.5, 256),
    Size("small", 1024, 96, 96, 1.0, 128),
)
_FULL = (16_384, 512)  # fmap_base and fmap_max of the full size.


@dataclass(frozen=True)
class Photos:
    """What is known of photos before they are converted.

    Attributes:
        path: folder or archive.
        count: how many there are.
        sides: shorter sides of some of them, in pixels, ascending.
        classes: photos by folder; empty where folders are no classes.
        why_no_classes: for people, if so.
        fingerprint: of all names and contents, in hexadecimal.
    """

    path: str
    count: int
    sides: tuple[int, ...]
    classes: Mapping[str, int]
    why_no_classes: str
    fingerprint: str


def look(path: str) -> Photos:
    """Reads all photos once, and the sizes of some.

    Raises:
        UserError: there are none, or only a few.
    """
    source = images_source(path, "none")
    names = [item.name for item in source.items]
    if len(names) < _LEAST_PHOTOS:
        raise UserError(
            f"{path} holds {len(names)} pictures, expected at least {_LEAST_PHOTOS}: a network "
            "learns from many"
        )
    chosen = set(np.linspace(0, len(names) - 1, min(len(names), _LOOKED_AT)).astype(int).tolist())
    digest, sides = hashlib.sha256(), []
    bar = {"desc": "Looking at photos", "unit": "photo", "disable": None}
    for number, name in enumerate(tqdm(names, **bar)):
        try:
            where = source.read(Item(name))
        except Unreadable as error:  # A member of an archive. It will be skipped, with the reason.
            where = str(error).encode()
        digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        for part in _parts(where):
            digest.update(part)
        if number in chosen and (side := _shorter_side(where)):
            sides.append(side)
    if not sides:
        raise UserError(f"{path}: no picture in it can be read")
    classes, why = _classes(names)
    return Photos(path, len(names), tuple(sorted(sides)), classes, why, digest.hexdigest())


@dataclass(frozen=True)
class Choice:
    """What was chosen for a run.

    Attributes:
        options: values of options of run_training.py, by name.
        resolution: of the dataset.
        reasons: lines for people.
    """

    options: Mapping[str, Any]
    resolution: int
    reasons: tuple[str, ...]


def choose(photos: Photos, given: Mapping[str, Any], seconds: float | None) -> Choice:
    """Chooses what the user does not.

    Args:
        photos: to learn from.
        given: options of the command line by name.
        seconds: that the run may take; None: as long as --total-kimg needs.
    """
    speed, device = convolution_speed()
    is_mixed, why_precision = _choose_precision(given)
    speed *= _EFFICIENCY[is_mixed] * given.get("num_gpus", 1)
    total_kimg = given.get("total_kimg")
    allowed = _allowed_resolution(photos)
    resolution, size, kimg = _choose_size(allowed, speed, seconds, total_kimg, given)
    validation = count_held_out(photos.count)
    options: dict[str, Any] = {
        "config": "auto",
        "mirror_augment": True,
        "validation": validation,
        "total_kimg": _LONGEST_KIMG if total_kimg is None else total_kimg,
        "precision": "mixed" if is_mixed else "fp32",
        "resolution": resolution,
    }
    if size.fmap_base is not None:
        options |= {name: getattr(size, name) for name in ("fmap_base", "fmap_max", "latent_size")}
        options["batch"] = 16
    own_shape = {name: given[name] for name in _SHAPING if given.get(name) is not None}
    fits = size == _SIZES[-1] and photos.count <= _FEW and own_shape.items() <= options.items()
    start = _START if fits and os.path.isfile(pretrained.OWN[_START]) else None
    options["resume"] = start
    options = {**options, **{name: given[name] for name in options if name in given}}
    median = photos.sides[len(photos.sides) // 2]
    length = "" if seconds is None else f"in {format_time(seconds)} "
    seen = kimg * 1000 / max(photos.count - validation, 1)
    trained = f"{kimg:,.0f}" if kimg >= 10 else f"{kimg:.3g}"
    pace = f"{length}this machine ({device}) trains on about"
    if kimg == total_kimg:
        pace = f"on {device}, the run has"
    reasons = [
        f"{photos.count:,} photos, shorter sides of {photos.sides[0]} to {photos.sides[-1]} "
        f"pixels, median {median}: at most {allowed}x{allowed}",
        f"Resolution {options['resolution']}, {size.name} networks: {pace} {trained} thousand "
        f"images, each photo {seen:,.0f} times; such networks need about "
        f"{_needed(resolution, size):,.0f} thousand",
        f"Precision: {options['precision']}, {why_precision}",
        f"Classes: {', '.join(photos.classes)}" if photos.classes else photos.why_no_classes,
        f"Held out: {options['validation']} photos, by which the best snapshot is found",
    ]
    if options["mirror_augment"]:
        reasons.append("Mirrored too: writing on products comes out mirrored; --mirror=false")
    if options["resume"] is not None:
        reasons.append(f"Starts from {options['resume']}, which knows products; --resume=noresume")
    return Choice(options, options["resolution"], tuple(reasons))


def check_plan(options: TrainingOptions, resolution: int) -> None:
    """Raises a UserError if steps of a run do not divide among devices and groups.

    Args:
        options: of the run.
        resolution: of its images.
    """
    group = options.D_args.get("mbstd_group_size", DEFAULT_GROUP) or 1
    check_schedule(resolution_log2(resolution), options.num_gpus, group, options.sched_args)


def check_resolution(resolution: int) -> None:
    """Raises a UserError for a resolution that is none of a dataset of photos."""
    if resolution not in (16, *_RESOLUTIONS):
        raise UserError(
            f"--resolution={resolution}: expected a power of two from 16 to {_RESOLUTIONS[0]}"
        )


def count_held_out(count: int) -> int:
    """How many of so many photos are held out."""
    return max(1, min(int(count * _HELD_OUT), _MOST_HELD_OUT))


def count_images(dataset: str) -> int:
    """Images of a dataset that `build_dataset` made: without copies and what cannot be read.

    Raises:
        UserError: too few are left.
    """
    count = int((read_manifest(find_dataset(dataset)) or {}).get("images", 0))
    if count < _LEAST_PHOTOS:
        raise UserError(f"{dataset}: only {count} photos are left without copies: more are needed")
    return count


def training_seconds(hours: float, spent: float) -> float:
    """Of the time that a user gives, what is left for training.

    Args:
        hours: in all.
        spent: seconds that are gone.
    """
    total = hours * 3600
    reserved = min(float(np.clip(total * _RESERVED, *_RESERVED_SECONDS)), total / 2)
    return max(total - spent - reserved, 1.0)


def build_dataset(photos: Photos, resolution: int, result_dir: str, cond: bool) -> str:
    """Makes a dataset of photos, unless the same ones were converted before; returns its path.

    Args:
        photos: to convert.
        resolution: of the dataset.
        result_dir: the dataset is made in `datasets` in it.
        cond: whether folders become labels.
    """
    labels = "folders" if photos.classes and cond else "none"
    stem = os.path.splitext(os.path.basename(os.path.abspath(photos.path)))[0]
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem).strip("-") or "photos"
    key = hashlib.sha256(f"{photos.fingerprint} {labels}".encode()).hexdigest()[:8]
    folder = os.path.join(result_dir, "datasets", f"{stem}-{resolution}-{key}")
    if os.path.isdir(folder):
        print(f"Dataset {folder} holds these photos already")
        return folder
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    # The background of product photos is one color: no product is cut off.
    output = Output(folder, resolution=resolution, transform="pad-edge", dedupe="near")
    create_from_images(output, photos.path, labels)
    return folder


def _choose_precision(given: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether it is mixed, and why."""
    config, dtype = given.get("config"), lower_dtype()
    if "precision" in given:
        return given["precision"] == "mixed" and dtype is not None, "as asked for"
    if config in PRESETS and not preset(config).sched_args.is_constant:
        return False, f"since {config} grows"
    if find_method(given.get("cmethod", "nocmethod")).full_precision:
        return False, f"since --cmethod={given['cmethod']} needs it"
    if dtype is None:
        return False, "since nothing lower is faster on this processor"
    return True, f"with {dtype.name} at the highest resolutions"


def _choose_size(
    allowed: int,
    speed: float,
    seconds: float | None,
    total_kimg: float | None,
    given: Mapping[str, Any],
) -> tuple[int, Size, float]:
    """The largest resolution, and the largest networks, that there is time enough for."""
    fixed = given.get("resolution")
    resolutions = [fixed] if fixed else [r for r in _RESOLUTIONS if r <= allowed]
    least = resolutions[-1], _SIZES[-1]
    for resolution in resolutions:
        for size in _SIZES:
            kimg = _kimg(resolution, size, speed, seconds, total_kimg)
            if resolution <= size.most and kimg >= _needed(resolution, size):
                return resolution, size, kimg
    return *least, _kimg(*least, speed, seconds, total_kimg)


def _kimg(
    resolution: int, size: Size, speed: float, seconds: float | None, total_kimg: float | None
) -> float:
    """Thousand images that a run sees."""
    possible = math.inf if seconds is None else seconds * speed / _flops(resolution, size) / 1000
    return min(possible, total_kimg or _LONGEST_KIMG)


def _needed(resolution: int, size: Size) -> float:
    return _NEEDED_KIMG * resolution / 64 * size.needs


def _flops(resolution: int, size: Size) -> float:
    """Of training on one image: of the convolutions of 3×3 of both networks."""
    base, most = (size.fmap_base, size.fmap_max) if size.fmap_base else _FULL
    total = 0.0
    for log2 in range(3, int(math.log2(resolution)) + 1):
        here, below = (min(base / 2 ** (n - 1), most) for n in (log2, log2 - 1))
        # One at this resolution, one between it and the lower one, which costs as much as there.
        total += 2 * 9 * 4**log2 * (here * here + here * below / 4)
    return total * _PASSES


def _allowed_resolution(photos: Photos) -> int:
    """Photos are not enlarged: as a rule the median counts."""
    median = photos.sides[len(photos.sides) // 2]
    return next((r for r in _RESOLUTIONS if r <= median), _RESOLUTIONS[-1])


def _classes(names: Collection[str]) -> tuple[dict[str, int], str]:
    """Photos by folder, if folders are classes; else why not."""
    folders = count_folders(names)
    if None in folders:
        return {}, "No classes: not all photos lie in folders of their own"
    if len(folders) < 2:
        return {}, "No classes: there is only one folder"
    if len(names) < _LEAST_OF_CLASS * len(folders):
        return {}, (
            f"No classes: {len(folders)} folders hold less than {_LEAST_OF_CLASS} photos each on "
            "average"
        )
    return dict(sorted(folders.items())), ""


def _parts(where: str | bytes | np.ndarray) -> Iterator[bytes]:
    if not isinstance(where, str):
        yield bytes(where)
        return
    try:
        with open_regular(where) as file:
            while part := file.read(_CHUNK):
                yield part
    except OSError:  # It will be skipped, with the reason.
        yield b"unreadable"


def _shorter_side(where: str | bytes | np.ndarray) -> int | None:
    try:
        with open_image(where) as image:
            return min(image.size)
    except (Unreadable, OSError, ValueError, Image.DecompressionBombError):
        return None
