"""The distance that run_projector.py minimizes: LPIPS where it is at hand, or something else."""

from __future__ import annotations

import sys

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from dnnlib.tflib import Network
from metrics.feature_networks import FeatureNetworkMissing, FeatureSources
from training.datasets.photos.arrays import on_white
from training.latents.distances import DiscriminatorDistance, Distance, pixel_distance
from training.latents.options import DISTANCES
from training.snapshots import pickles
from training.snapshots.roles import by_role

_LEAST_SIDE = 16  # That VGG16 takes: it halves images four times.


def load(
    network_pkl: str,
    kind: str = DISTANCES[0],
    sources: FeatureSources | None = None,
    allow_pickled_code: bool = False,
) -> tuple[Network, Distance]:
    """(Gs of a snapshot, the distance to project with).

    Args:
        network_pkl: file, https URL, or name in `pretrained`.
        kind: one of `options.DISTANCES`.
        sources: where LPIPS comes from.
        allow_pickled_code: run code that the snapshot brings.

    Raises:
        UserError: it is no snapshot, or the distance cannot be had.
    """
    networks = pickles.load(network_pkl, allow_pickled_code)
    Gs = pickles.choose_generator(networks, network_pkl)
    return Gs, choose(kind, Gs, by_role(networks).get("D"), sources or FeatureSources())


def choose(kind: str, Gs: Network, D: Network | None, sources: FeatureSources) -> Distance:
    """A distance for images of a generator.

    Args:
        kind: one of `options.DISTANCES`; "auto": LPIPS if its files are given or in the cache, or
            else the discriminator's features, or else pixels; what it is, if not LPIPS, is said in
            a line on stderr.
        Gs: a generator.
        D: a discriminator of the same images, or None.
        sources: where LPIPS comes from.

    Raises:
        UserError: there is none of that kind.
    """
    if D is not None and len(D.input_shape) != 4:  # A snapshot may call anything D.
        D = None
    if kind == "pixels":
        return pixel_distance
    if kind == "discriminator":
        if D is None:
            raise UserError(
                "--distance=discriminator: the snapshot holds no discriminator: use "
                "--distance=pixels, or lpips"
            )
        return DiscriminatorDistance(D)
    if kind not in DISTANCES:
        raise UserError(f"--distance={kind}: use {', '.join(DISTANCES)}")
    side, reason = min(Gs.output_shape[2:]), "LPIPS is not at hand"
    try:
        if side < _LEAST_SIDE:
            reason = f"images of {side} pixels are too small for LPIPS"
        elif kind == "lpips" or sources.is_at_hand("lpips"):
            return _Lpips(sources.get("lpips"))
    except FeatureNetworkMissing as error:
        if kind == "lpips":
            raise
        reason = str(error)
    if kind == "lpips":
        raise UserError(f"--distance=lpips: {reason}: use discriminator or pixels")
    usable = D is not None and min(D.input_shape[2:]) >= 8
    instead = "features of the snapshot's discriminator" if usable else "plain pixels"
    print(f"NOTE: distance of {instead}: {reason} (see --distance)", file=sys.stderr)
    return DiscriminatorDistance(D) if usable else pixel_distance


class _Lpips:
    """The distance of a feature network of two inputs, of gray images too, and on white."""

    def __init__(self, network):
        self._network = network

    def __call__(self, images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        images, targets = on_white(images), on_white(targets)
        channels = images.shape[1].value
        if channels == 1:
            images, targets = (tf.tile(x, [1, 3, 1, 1]) for x in (images, targets))
        elif channels != 3:
            raise UserError(f"LPIPS takes images of 1 or 3 channels, not of {channels}")
        return self._network.distance(images, targets)
