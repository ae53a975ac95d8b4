"""The augmentation pipeline of adaptive discriminator augmentation (ADA, arXiv:2006.06676).

Appendix B of the paper: 18 transformations in six groups, each applied to each sample with
probability p times a multiplier, all differentiable in the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from training.augmentation.color import color_transforms, transform_colors
from training.augmentation.corruption import add_noise, cut_out, filter_images
from training.augmentation.draws import Draws
from training.augmentation.geometry import blit_transforms, geometric_transforms, transform_images


def augment_pipeline(
    images: tf.Tensor,
    labels: tf.Tensor,
    strength: float | tf.Tensor = 1,
    debug_percentile: float | tf.Tensor | None = None,
    xflip: float = 0,
    rotate90: float = 0,
    xint: float = 0,
    xint_max: float = 0.125,
    scale: float = 0,
    rotate: float = 0,
    aniso: float = 0,
    xfrac: float = 0,
    scale_std: float = 0.2,
    rotate_max: float = 1,
    aniso_std: float = 0.2,
    aniso_rotate_prob: float = 0.5,
    xfrac_std: float = 0.125,
    brightness: float = 0,
    contrast: float = 0,
    lumaflip: float = 0,
    hue: float = 0,
    saturation: float = 0,
    brightness_std: float = 0.2,
    contrast_std: float = 0.5,
    hue_max: float = 1,
    saturation_std: float = 1,
    imgfilter: float = 0,
    imgfilter_bands: Sequence[float] = (1, 1, 1, 1),
    imgfilter_std: float = 1,
    noise: float = 0,
    cutout: float = 0,
    noise_std: float = 0.1,
    cutout_size: float = 0.5,
    seed: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Transforms images at random; see `augment_preset` for which.

    Every transformation has a multiplier, 0 by default: it comes with probability strength times
    multiplier, for each sample on its own. Those with 0 cost nothing. Each has random numbers of
    its own, so that switching one off leaves the others alone.

    Args:
        images: [N, C, H, W] float32, usually in [-1, 1]; H and W known, of any size. What comes out
            can leave that range. Other floating-point types are computed in float32.
        labels: passed on.
        strength: p of ADA, a number or a tensor of shape [] or [N].
        debug_percentile: in (0, 1), for looking at the pipeline: every transformation comes, with
            this percentile of its parameters' distributions, whatever strength and multiplier are
            above 0. A number, or a tensor of shape [] or [N].
        xflip, rotate90, xint: mirroring, quarter turns, shift by whole pixels.
        xint_max: largest shift, as a part of the image's size.
        scale, rotate, aniso, xfrac: scaling, rotation, anisotropic scaling, any shift.
        scale_std, aniso_std: standard deviations of log2 of the factors.
        rotate_max: largest angle, 1 for half a turn.
        aniso_rotate_prob: how rotations are shared out, see `geometric_transforms`.
        xfrac_std: standard deviation of the shift, as a part of the image's size.
        brightness, contrast, lumaflip, hue, saturation: colours; for 3 channels or 1.
        brightness_std: standard deviation of what is added.
        contrast_std, saturation_std: standard deviations of log2 of the factors.
        hue_max: largest angle, 1 for half a turn.
        imgfilter: bands of frequencies amplified or damped.
        imgfilter_bands: a further multiplier for each band, from low to high frequencies.
        imgfilter_std: standard deviation of log2 of the factor.
        noise, cutout: noise added; a rectangle set to zero.
        noise_std: deviation of the deviation of the noise, which is half-normal.
        cutout_size: sides of the rectangle, as a part of those of the image.
        seed: [2] int32 that fixes all random numbers; None draws fresh ones at every run.

    Returns:
        Images like `images`, twice differentiable in them, and `labels`.

    Raises:
        UserError: images that are not of rank 4, of unknown size or not floating-point, colours of
            other than 1 or 3 channels, other than four `imgfilter_bands`.
    """
    images = tf.convert_to_tensor(images)
    if images.shape.ndims != 4 or None in images.shape.as_list()[1:]:
        raise UserError(f"augmentation of images of shape {images.shape}: expected [N, C, H, W]")
    shape, dtype = images.shape, images.dtype
    if not dtype.is_floating:
        raise UserError(
            f"augmentation of {dtype.name} images: expected float32, usually in [-1, 1]"
        )
    images = tf.cast(images, tf.float32)
    count = tf.shape(images)[0] if shape[0].value is None else shape[0].value
    draws = Draws(seed, count, strength, debug_percentile)
    size = (shape[2].value, shape[3].value)

    transforms = blit_transforms(
        draws, size, xflip=xflip, rotate90=rotate90, xint=xint, xint_max=xint_max
    ) + geometric_transforms(
        draws,
        size,
        scale=scale,
        rotate=rotate,
        aniso=aniso,
        xfrac=xfrac,
        scale_std=scale_std,
        rotate_max=rotate_max,
        aniso_std=aniso_std,
        aniso_rotate_prob=aniso_rotate_prob,
        xfrac_std=xfrac_std,
    )
    if transforms:
        images = transform_images(images, transforms)
    colors = color_transforms(
        draws,
        brightness=brightness,
        contrast=contrast,
        lumaflip=lumaflip,
        hue=hue,
        saturation=saturation,
        brightness_std=brightness_std,
        contrast_std=contrast_std,
        hue_max=hue_max,
        saturation_std=saturation_std,
    )
    if colors:
        images = transform_colors(images, colors)
    if imgfilter > 0:
        images = filter_images(images, draws, imgfilter, imgfilter_bands, imgfilter_std)
    if noise > 0:
        images = add_noise(images, draws, noise, noise_std)
    if cutout > 0:
        images = cut_out(images, draws, cutout, cutout_size)
    images = tf.cast(images, dtype)
    images.set_shape(shape)
    return images, labels
