"""All transformations of augmentation, in the order of ADA's appendix B."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from training.augmentation.color import background_of, color_transforms, transform_colors
from training.augmentation.corruption import add_noise, cut_out, filter_images
from training.augmentation.draws import Draws
from training.augmentation.geometry import blit_transforms, geometric_transforms, transform_images
from training.augmentation.spec import AugmentSpec


def augment(
    images: tf.Tensor,
    strength: float | tf.Tensor,
    spec: AugmentSpec,
    seed: tf.Tensor | None = None,
    debug_percentile: float | tf.Tensor | None = None,
) -> tf.Tensor:
    """Transforms images at random; arguments and result as in `augment_pipeline`.

    Args:
        spec: which transformations, how often and how far.
    """
    images = tf.convert_to_tensor(images)
    if images.shape.ndims != 4 or None in images.shape.as_list()[1:]:
        raise UserError(
            f"augmentation of images of shape {images.shape}: expected [N, C, H, W] with known C, "
            "H and W, which set_shape() of a tensor can tell"
        )
    shape, dtype = images.shape, images.dtype
    if not dtype.is_floating:
        raise UserError(
            f"augmentation of {dtype.name} images: expected float32, usually in [-1, 1]"
        )
    images = tf.cast(images, tf.float32)
    # Zeros stay as they are in most of what follows.
    background = background_of(shape[1].value, spec)
    if background is not None:
        images -= background
    count = tf.shape(images)[0] if shape[0].value is None else shape[0].value
    draws = Draws(seed, count, strength, debug_percentile)
    size = (shape[2].value, shape[3].value)
    transforms = blit_transforms(draws, spec, size) + geometric_transforms(draws, spec, size)
    if transforms:
        images = transform_images(images, transforms)
    if colors := color_transforms(draws, spec):
        images = transform_colors(images, colors, spec.background)
    if spec.imgfilter > 0:
        images = filter_images(images, draws, spec)
    if spec.noise > 0:
        images = add_noise(images, draws, spec)
    if spec.cutout > 0:
        images = cut_out(images, draws, spec)
    if background is not None:
        images += background
    images = tf.cast(images, dtype)
    images.set_shape(shape)
    return images
