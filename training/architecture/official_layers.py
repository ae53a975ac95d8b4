"""Layers as the official modules have them, with keyword arguments for what is a record elsewhere.

`training.networks`, `networks_stylegan2` and `networks_stylegan` say which of the arguments each
has, see `faces.OfficialModule.layer`. Activations are in the layout of all bodies here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from dnnlib import UserError
from training.architecture import layers, styles
from training.architecture.spectral_norm import spectral_normalize


@dataclass(frozen=True)
class WeightKeywords:
    """How the weight of a layer is kept.

    Attributes:
        gain: He gain: the weight has a standard deviation of gain / sqrt(fan-in).
        use_wscale, equalized_lr: keep the variable at unit variance and scale it when used (PGGAN,
            section 4.1).
        lrmul: learning-rate multiplier: the variable is 1/lrmul as large and scaled by lrmul.
        weight_var: name of the variable.
        trainable: whether optimizers change it.
        use_spectral_norm: apply `apply_spectral_norm`, with a variable named `<weight_var>_sn`.
    """

    gain: float = 1
    use_wscale: bool = True
    equalized_lr: bool = True
    lrmul: float = 1
    weight_var: str = "weight"
    trainable: bool = True
    use_spectral_norm: bool = False

    def weight(self) -> layers.Weight:
        return layers.Weight(
            self.gain,
            self.use_wscale and self.equalized_lr,
            self.lrmul,
            self.weight_var,
            self.trainable,
            self._normalize(self.weight_var),
        )

    def style_weight(self, name: str) -> layers.Weight:
        """Of the affine layer that makes styles for this one."""
        return layers.Weight(name=name, trainable=self.trainable, normalize=self._normalize(name))

    def _normalize(self, name: str):
        if not self.use_spectral_norm:
            return None
        return functools.partial(apply_spectral_norm, state_var=f"{name}_sn")


@dataclass(frozen=True)
class ResamplingKeywords:
    """A change of size beside a convolution.

    Attributes:
        up: upsample by 2 before it.
        down: downsample by 2 after it.
        resample_kernel: FIR filter of that; None for boxes.
    """

    up: bool = False
    down: bool = False
    resample_kernel: Sequence[float] | None = None

    def resampling(self) -> layers.Resampling | None:
        if self.up and self.down:
            raise UserError(
                "up=True and down=True: a layer changes the size one way, use one of them"
            )
        return layers.Resampling(self.up, self.resample_kernel) if self.up or self.down else None


def get_weight(shape: Sequence[int], keywords: WeightKeywords) -> tf.Tensor:
    """Weight with a standard deviation of gain / sqrt(fan-in).

    Args:
        shape: [.., in, out] for dense layers, [kh, kw, in, out] for convolutions.
    """
    return layers.get_weight(shape, keywords.weight())


def dense_layer(x: tf.Tensor, fmaps: int, keywords: WeightKeywords) -> tf.Tensor:
    """Fully connected layer without bias. Its weight is that of `get_weight`.

    Args:
        x: [N, …]; images are flattened in the order C, H, W.
        fmaps: size of the result.

    Returns:
        [N, fmaps].
    """
    return layers.dense_layer(x, fmaps, keywords.weight())


def conv2d(x: tf.Tensor, w: tf.Tensor, keywords: ResamplingKeywords, padding: int = 0) -> tf.Tensor:
    """Convolution with a given weight.

    Args:
        x: [N, C, H, W].
        w: [n, n, C, fmaps], n odd.
        padding: pixels more on each side of the result, of zeros around `x`; negative for fewer.
            Without `up` or `down` it is 0, or -(n // 2) for pixels that need no zeros.

    Returns:
        [N, fmaps, H, W], twice or half as high and wide with `up` or `down`, plus the padding.

    Raises:
        UserError: `up` and `down` together, or a padding that there is not.
    """
    return layers.resampled_conv(x, w, keywords.resampling(), padding)


def conv2d_layer(
    x: tf.Tensor,
    fmaps: int,
    kernel: int,
    resampling: ResamplingKeywords,
    weight: WeightKeywords,
) -> tf.Tensor:
    """Convolution without bias. Its weight [kernel, kernel, C, fmaps] is that of `get_weight`.

    Args:
        x: [N, C, H, W].
        fmaps: feature maps of the result.
        kernel: side of the kernel, odd.

    Returns:
        [N, fmaps, H, W], twice or half as high and wide with `up` or `down`.

    Raises:
        UserError: `up` and `down` together.
    """
    return layers.conv2d_layer(x, fmaps, kernel, weight.weight(), resampling.resampling())


def modulated_conv2d_layer(
    x: tf.Tensor,
    y: tf.Tensor,
    fmaps: int,
    kernel: int,
    resampling: ResamplingKeywords,
    weight: WeightKeywords,
    demodulate: bool = True,
    fused_modconv: bool = True,
    mod_weight_var: str = "mod_weight",
    mod_bias_var: str = "mod_bias",
) -> tf.Tensor:
    """Convolution whose kernel is scaled by a style, per sample (StyleGAN2, equations 1 and 3).

    Args:
        x: [N, C, H, W].
        y: disentangled latents w [N, dlatent_size]; an affine layer turns them into styles.
        fmaps, kernel: see `conv2d_layer`.
        demodulate: scale outputs back to unit expected variance.
        fused_modconv: makes no difference to the numbers.
        mod_weight_var, mod_bias_var: names of the variables of the affine layer, which is
            trainable and normalized like the kernel.

    Returns:
        [N, fmaps, H, W], twice or half as high and wide with `up` or `down`.

    Raises:
        UserError: `up` and `down` together.
    """
    x, scale = styles.modulated_conv2d_layer(
        x,
        y,
        fmaps,
        kernel,
        resampling.resampling(),
        demodulate,
        weight.weight(),
        weight.style_weight(mod_weight_var),
        mod_bias_var,
    )
    return styles.demodulated(x, scale)


def apply_bias_act(
    x: tf.Tensor,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    lrmul: float = 1,
    clamp: float | None = None,
    bias_var: str = "bias",
    trainable: bool = True,
) -> tf.Tensor:
    """Adds a bias per channel, and applies an activation: clip(gain · act(x + lrmul · bias)).

    Args:
        x: [N, C, H, W] or [N, C].
        act: `linear relu lrelu tanh sigmoid elu selu softplus swish`.
        alpha: slope of `lrelu` for negative values; None: 0.2.
        gain: None: the activation's own (√2 for relu, lrelu and swish, else 1).
        lrmul: learning-rate multiplier.
        clamp: limit of the absolute value, or None.
        bias_var: name of the variable, which starts at zero.
        trainable: whether optimizers change it.
    """
    return layers.apply_bias_act(x, act, gain, lrmul, clamp, bias_var, trainable, alpha)


def apply_spectral_norm(
    w: tf.Tensor, state_var: str = "sn", iterations: int = 1, eps: float = 1e-8
) -> tf.Tensor:
    """w / σ, its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    Power iteration finds σ. It starts from a variable that is not trained, and that every use of
    the result moves on.

    Args:
        w: [.., inputs, outputs].
        state_var: name of the variable [1, outputs].
        iterations: at every use.
        eps: the least σ.
    """
    return spectral_normalize(w, state_var, iterations, eps, updates=True)
