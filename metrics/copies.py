"""Copies of training photos among generated pictures, and the test for data copying.

Meehan, Chaudhuri and Dasgupta 2020, "A Three Sample Hypothesis Test for Evaluating Generative
Models" (arXiv:2004.05675): if generated pictures lie nearer to the photos trained on than photos
that were held out do, the network copies. C_T is the Mann-Whitney z of these distances, here over
all of the data at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.output import tqdm
from metrics.evaluation import Evaluation, MetricOptions
from metrics.feature_networks import FeatureNetwork, FeatureSources
from metrics.feature_networks.discriminator import DiscriminatorFeatures
from metrics.metric import MetricBase
from training.dataset import TFRecordDataset
from training.datasets.photos.arrays import on_white, save_png
from training.latents.likeness import (
    EitherWay,
    Gallery,
    copy_limit,
    nearest_either_way,
    sample_numbers,
)
from training.pictures.edits import draw_strips
from training.pictures.provenance import Provenance

_SHOWN, _COLUMNS = 16, 8  # Pairs on the sheet.


@dataclass(frozen=True)
class Pair:
    """A generated picture and the photo that it is most like.

    Attributes:
        generated, photo: uint8 [C, H, W]; the photo is mirrored where that is more alike.
        relative: see `Neighbors`.
    """

    generated: np.ndarray
    photo: np.ndarray
    relative: float


class Copies(MetricBase):
    """How near generated pictures come to photos that were trained on, mirrored or not.

    Results: `_share`, the share of pictures that are copies (see `Neighbors`), as up to 5 % of new
    photos are; `_nearest`, the lowest of `relative`; with photos that were held out `_z`, C_T:
    below -3 the network copies, above 0 its pictures are further away than real photos are.

    Writes a sheet of the closest pairs beside the results.

    Args:
        name: as reported.
        num_fakes: pictures to generate.
        forced: see `MetricBase`.
    """

    def __init__(self, name: str, num_fakes: int, **forced: Any):
        super().__init__(name, **forced)
        self.num_fakes = num_fakes
        self._own: FeatureNetwork | None = None
        self._own_file: str | None = None
        self._pairs: list[Pair] = []
        self._provenance = Provenance()

    def use_features(self, sources: FeatureSources) -> None:
        self._own_file = sources.own_file
        self._own = sources.get("own") if sources.own_file else None

    def forced(self, options: MetricOptions) -> MetricOptions:
        """With the photos that were trained on, whatever other metrics compare with."""
        if options.trained_args is not None:
            if not options.trained_args:
                raise UserError(
                    "copies are looked for among the photos that were trained on, and no "
                    "training_options.json beside the network says which: name them with "
                    "--dataset, without --metricdata"
                )
            options = replace(options, dataset_args=options.trained_args, trained_args=None)
        if options.held_out:
            options = replace(options, held_out=False)
        return super().forced(options)

    def log(self, run_dir: str | None) -> None:
        super().log(run_dir)
        if run_dir is not None and self._pairs:
            path = os.path.join(run_dir, f"metric-{self.name}-{self.report.snapshot}.png")
            save_sheet(self._pairs, path, self._provenance)
            print(f"  {self.name}: the closest pairs are in {path}", flush=True)

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        source = f"--feature-net={self._own_file}"
        if self._own is None:
            source = f"the discriminator of {evaluation.snapshot}"
        view = _View(evaluation, self._own or _discriminator_of(evaluation), source)
        photos = evaluation.dataset
        if photos.num_images < 2:
            raise UserError(f"dataset {photos.tfrecord_dir} has {photos.num_images} photo")
        view.note_use(photos.num_images, self.num_fakes)
        generated = np.concatenate([v for v, _ in view.generate(self.num_fakes)])
        if photos.num_held_out:
            held_out = np.concatenate([v for _, v in view.read(photos.validation_set())])
        else:
            held_out = generated[:0]
            evaluation.note("no _z: no photos are known that the run held out (--validation=N)")
        gallery = view.gallery()
        total = -(-photos.num_images // evaluation.minibatch)
        bar = {"desc": "Looking at photos", "unit": "minibatch", "disable": None}
        for _, vectors in tqdm(view.read(photos), total=total, **bar):
            gallery.add(vectors[:, 0])
        found = nearest_either_way(np.concatenate([generated, held_out]), gallery.blocks())
        of_fakes, of_photos = found[: self.num_fakes], found[self.num_fakes :]
        limit = copy_limit(gallery.take(sample_numbers(photos.num_images)), gallery.blocks())
        self._pairs = view.pairs(of_fakes, photos)
        if evaluation.subject is not None:
            self._provenance = Provenance(evaluation.subject.sha256)
        results = {
            "_share": float(of_fakes.are_copies(limit).mean()),
            "_nearest": float(of_fakes.relative.min()),
        }
        if len(held_out):
            results["_z"] = copying_z(of_fakes.distances, of_photos.distances)
        return results


def copying_z(generated: np.ndarray, held_out: np.ndarray) -> float:
    """C_T of distances to the photos trained on: the Mann-Whitney z of generated pictures.

    About normally distributed if both kinds have the same distances; negative if generated pictures
    are nearer.

    Args:
        generated, held_out: distances [N], [M].
    """
    n, m = len(generated), len(held_out)
    ranks = scipy.stats.rankdata(np.concatenate([generated, held_out]))
    u = ranks[:n].sum() - n * (n + 1) / 2
    return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


def save_sheet(pairs: list[Pair], path: str, provenance: Provenance) -> None:
    """Writes a PNG of pairs, a generated picture above the photo, with distances."""
    rows, texts = [], []
    for begin in range(0, len(pairs) - len(pairs) % _COLUMNS or len(pairs), _COLUMNS):
        part = pairs[begin : begin + _COLUMNS]
        rows += [[pair.generated for pair in part], [pair.photo for pair in part]]
        texts += [[["generated"]] * len(part), [[f"photo, {pair.relative:.2f}"] for pair in part]]
    sheet = draw_strips(rows, texts)
    save_png(sheet, path, provenance.xmp("copies", os.path.basename(path), composite=True))


class _View:
    """How pictures look to a feature network: vectors of each, as it is and mirrored.

    Args:
        evaluation: of the pictures.
        network: that looks.
        source: what it is from, for messages.
    """

    def __init__(self, evaluation: Evaluation, network: FeatureNetwork, source: str):
        self._evaluation, self._network, self._source = evaluation, network, source

        def build(replica: int):
            feeds, images = evaluation.fake_images(replica)
            is_sound = tf.reduce_all(tf.is_finite(images), axis=[1, 2, 3])
            shape = [None, *evaluation.Gs.output_shape[1:]]
            images = tf.placeholder_with_default(tflib.convert_images_to_uint8(images), shape)
            feeds["images"] = images
            rgb = tf.cast(images if network.sees_opacity else on_white(images), tf.float32)
            rgb = tf.tile(rgb, [1, 3, 1, 1]) if shape[1] == 1 else rgb
            ways = [network.build(x)["features"] for x in (rgb, tf.reverse(rgb, axis=[3]))]
            return feeds, [tf.stack(ways, axis=1), images, is_sound]

        self._graph = evaluation.replicas((network.key, "copies"), build)

    def note_use(self, num_reals: int, num_fakes: int) -> None:
        self._evaluation.uses(self._network, num_reals, num_fakes)

    def gallery(self) -> Gallery:
        """For vectors of photos."""
        is_bounded = isinstance(self._network, DiscriminatorFeatures)
        return Gallery(np.float16 if is_bounded else np.float32)

    def generate(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vectors float32 [N, 2, F] and images uint8 of generated pictures, by minibatches."""
        for begin, size in self._evaluation.minibatches(count):
            yield self._generate(begin, size)

    def _generate(self, begin: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        evaluation = self._evaluation
        rows = {
            "latents": evaluation.latents(begin, size),
            "labels": evaluation.labels(begin, size),
        }
        vectors, images, is_sound = self._graph.run(rows, evaluation.noise_seed(begin))
        if not is_sound.all():
            raise UserError(f"{evaluation.snapshot} makes images that are not finite numbers")
        self._check(vectors, f"pictures of {evaluation.snapshot}")
        return vectors, images

    def read(self, photos: TFRecordDataset) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first, vectors float32 [N, 2, F]) of photos, by minibatches."""
        for begin, size in self._evaluation.minibatches(photos.num_images):
            images = photos.read_images(np.arange(begin, begin + size))
            vectors = self._graph.run({"images": images}, num_outputs=1)[0]
            self._check(vectors, f"photos of {photos.tfrecord_dir}")
            yield begin, vectors

    def _check(self, vectors: np.ndarray, what: str) -> None:
        if not np.isfinite(vectors).all():
            raise UserError(
                f"{self._source} gives features of {what} that are not finite numbers: give "
                "another --feature-net=FILE"
            )

    def pairs(self, found: EitherWay, photos: TFRecordDataset) -> list[Pair]:
        """The closest pairs of all generated pictures, closest first."""
        pairs, total = [], len(found.relative)
        starts = dict(self._evaluation.minibatches(total))
        step = max(starts.values())
        for number in np.argsort(found.relative, kind="stable")[:_SHOWN].tolist():
            begin = number // step * step
            _, images = self._generate(begin, starts[begin])  # Again: none were kept.
            photo = photos.read_images(found.numbers[number : number + 1])[0]
            photo = photo[:, :, ::-1] if found.are_mirrored[number] else photo
            pairs.append(Pair(images[number - begin], photo, float(found.relative[number])))
        return pairs


def _discriminator_of(evaluation: Evaluation) -> FeatureNetwork:
    subject = evaluation.subject
    if subject is None or subject.D is None:
        raise UserError(
            f"{evaluation.snapshot} holds no discriminator, whose features copies are found by: "
            "give --feature-net=FILE"
        )
    return DiscriminatorFeatures(subject.sha256, subject.D)
