"""The networks of StyleGAN (Karras et al. 2018, arXiv:1812.04948), by their official names.

Configuration A of StyleGAN2. Faces as in `networks_stylegan2`, over bodies in
`architecture.stylegan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from tf_ops.fused_bias_act import fused_bias_act
from training.architecture import growing, layers, normalization, official_layers, stylegan, styles
from training.architecture.faces import OfficialModule
from training.architecture.generator import generator
from training.architecture.layers import Weight, to_images, to_internal

_official = OfficialModule(__name__)
# What a snapshot or a keyword argument may name.
BUILD_FUNCTIONS = _official.build_functions

G_style = _official.build_function(
    "G_style",
    generator(BUILD_FUNCTIONS, with_lod=True, prepare=stylegan.without_cutoff),
    without="mapping_func synthesis_func",
    truncation_psi=0.7,
    truncation_cutoff=8,
)
G_mapping = _official.build_function(
    "G_mapping", stylegan.map_latents, without="label_fmaps", is_part=True
)
G_synthesis = _official.build_function(
    "G_synthesis", stylegan.synthesize_stylegan, without="fmap_min is_training", is_part=True
)
D_basic = _official.build_function(
    "D_basic", stylegan.score_stylegan, without="fmap_min random_seed"
)

# Layers, for networks of one's own. They take and return activations [N, C, H, W] or vectors [N, C]
# float32, and create their variables in the current variable scope: `weight` and `bias`.
# `**kwargs` are keyword arguments of `get_weight`.


def blur2d(x: tf.Tensor, f: Sequence = (1, 2, 1), normalize: bool = True) -> tf.Tensor:
    """Filters [N, C, H, W] without changing their size; the taps are not flipped.

    Args:
        x: [N, C, H, W].
        f: filter [n], or [n, n]; 1-D means its outer product.
        normalize: divide the taps by their sum.
    """
    return to_images(stylegan.blur(to_internal(x), f, normalize))


upscale2d = _official.layer("upscale2d", growing.repeat_pixels, "x factor", factor=2)
downscale2d = _official.layer("downscale2d", growing.average_pixels, "x factor", factor=2)
get_weight = _official.layer(
    "get_weight",
    official_layers.get_weight,
    "shape gain use_wscale lrmul",
    gain=stylegan.GAINS["lrelu"],
    use_wscale=False,
)


def dense(x: tf.Tensor, fmaps: int, **kwargs: Any) -> tf.Tensor:
    """Fully connected layer without bias: [N, …] to [N, fmaps], images in the order C, H, W."""
    return layers.dense_layer(to_internal(x), fmaps, _weight(**kwargs))


def conv2d(x: tf.Tensor, fmaps: int, kernel: int, **kwargs: Any) -> tf.Tensor:
    """Convolution without bias, [N, C, H, W] to [N, fmaps, H, W].

    Args:
        x: [N, C, H, W].
        fmaps: feature maps of the result.
        kernel: side of the kernel, odd.
        kwargs: see `get_weight`.
    """
    return to_images(layers.conv2d_layer(to_internal(x), fmaps, kernel, _weight(**kwargs)))


def upscale2d_conv2d(
    x: tf.Tensor, fmaps: int, kernel: int, fused_scale: bool | str = "auto", **kwargs: Any
) -> tf.Tensor:
    """`upscale2d`, then `conv2d`: [N, C, H, W] to [N, fmaps, 2H, 2W].

    Args:
        x: [N, C, H, W].
        fmaps, kernel, kwargs: see `conv2d`.
        fused_scale: whether the kernel is mirrored, as that of the official merged form is; `auto`:
            where the result has 128×128 pixels or more.

    Raises:
        UserError: unknown `fused_scale`.
    """
    fused = stylegan.is_fused(fused_scale, 2 * min(x.shape[2:].as_list()))
    x = stylegan.up_conv(to_internal(x), fmaps, kernel, _weight(**kwargs), fused)
    return to_images(x)


def conv2d_downscale2d(
    x: tf.Tensor, fmaps: int, kernel: int, fused_scale: bool | str = "auto", **kwargs: Any
) -> tf.Tensor:
    """`conv2d`, then `downscale2d`: [N, C, H, W] to [N, fmaps, H/2, W/2].

    Arguments are those of `upscale2d_conv2d`; here `fused_scale` makes no difference to the
    numbers.
    """
    stylegan.is_fused(fused_scale, min(x.shape[2:].as_list()))
    weight, halving = _weight(**kwargs), layers.Resampling(up=False)
    return to_images(layers.conv2d_layer(to_internal(x), fmaps, kernel, weight, halving))


def apply_bias(x: tf.Tensor, lrmul: float = 1) -> tf.Tensor:
    """x + lrmul · bias, one per channel of [N, C, H, W] or [N, C]; it starts at zero."""
    return to_images(layers.apply_bias_act(to_internal(x), lrmul=lrmul))


def leaky_relu(x: tf.Tensor, alpha: float = 0.2) -> tf.Tensor:
    """x where it is positive, else alpha · x."""
    return fused_bias_act(x, act="lrelu", alpha=alpha, gain=1)


def pixel_norm(x: tf.Tensor, epsilon: float = 1e-8) -> tf.Tensor:
    """Scales the vector of every pixel, [N, C, H, W] or [N, C], to a mean square of one."""
    return normalization.normalize_2nd_moment(x, eps=epsilon)


def instance_norm(x: tf.Tensor, epsilon: float = 1e-8) -> tf.Tensor:
    """Every feature map of every sample of [N, C, H, W] with mean 0 and deviation 1."""
    return to_images(normalization.instance_norm(to_internal(x), epsilon))


def style_mod(x: tf.Tensor, dlatent: tf.Tensor, **kwargs: Any) -> tf.Tensor:
    """x · (scale + 1) + shift, both per channel, from an affine layer in the scope `StyleMod`.

    Args:
        x: [N, C, H, W], normalized.
        dlatent: disentangled latents w [N, dlatent_size].
        kwargs: `use_wscale` and `lrmul` of the layer, see `get_weight`; its gain is 1.
    """
    with tf.variable_scope("StyleMod"):
        weight = _weight(gain=1, **kwargs)
        return to_images(styles.style_mod_layer(to_internal(x), dlatent, weight))


def apply_noise(
    x: tf.Tensor, noise_var: tf.Tensor | None = None, randomize_noise: bool = True
) -> tf.Tensor:
    """Adds noise by a learned strength per channel, the variable `Noise/weight`, zero at first.

    Args:
        x: [N, C, H, W].
        noise_var: noise [1, 1, H, W] of all samples, or [N, 1, H, W].
        randomize_noise: fresh standard normal noise for every sample instead, as without
            `noise_var`.
    """
    x, randomize = to_internal(x), randomize_noise or noise_var is None
    with tf.variable_scope("Noise"):
        return to_images(styles.noise_layer(x, styles.noise_image(x, noise_var, randomize, None)))


minibatch_stddev_layer = _official.layer(
    "minibatch_stddev_layer",
    normalization.minibatch_stddev_layer,
    "x group_size num_new_features",
)


def _weight(
    gain: float = stylegan.GAINS["lrelu"], use_wscale: bool = False, lrmul: float = 1
) -> Weight:
    return Weight(gain, use_wscale, lrmul)
