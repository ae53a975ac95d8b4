"""What networks can be told: every keyword argument with its meaning and its default, once.

A build function of the official modules (`training.networks`, …) is a face of a body in this
package: `faces.build_function` turns its keyword arguments into the specs that the body takes. A
face names only what differs from the defaults here. What stands under `Attributes` here is what
`help()` of the build functions shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib import EasyDict, UserError
from training.architecture.sizes import SQUARE_BASE, level_size, resolution_log2


@dataclass(frozen=True)
class NetworkSpec:
    """Of every network.

    Attributes:
        dtype: of inputs, outputs and variables; `float32` is the only one.
    """

    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype != "float32":
            raise UserError(f"dtype {self.dtype!r}: networks are computed in float32")


# Generators and mapping networks


@dataclass(frozen=True)
class GeneratorSpec:
    """Of which networks a generator consists.

    Attributes:
        components: networks `mapping` and `synthesis`; made here where they are missing.
        mapping_func, synthesis_func: names in `BUILD_FUNCTIONS`.
    """

    components: EasyDict | None = None
    mapping_func: str = "G_mapping"
    synthesis_func: str = "G_synthesis"


@dataclass(frozen=True)
class DenseSpec(NetworkSpec):
    """Fully connected layers, of a generator or of the labels of a discriminator.

    Attributes:
        label_size: size of the labels; 0 without labels.
        mapping_layers: depth.
        mapping_fmaps: width.
        mapping_lrmul: learning-rate multiplier.
    """

    label_size: int = 0
    mapping_layers: int = 8
    mapping_fmaps: int | None = None
    mapping_lrmul: float = 0.01


@dataclass(frozen=True)
class MappingSpec(DenseSpec):
    """Mapping network of ADA, which embeds labels.

    Attributes:
        latent_size: size of z.
        label_fmaps: size of the embedded label; None: latent_size.
        dlatent_size: size of w.
        dlatent_broadcast: return [N, dlatent_broadcast, dlatent_size] instead of [N, dlatent_size].
        mapping_fmaps: width of the layers before the last; None: dlatent_size.
        mapping_lrmul: learning-rate multiplier, which embeddings of labels do not have.
        mapping_nonlinearity: see `fused_bias_act`; StyleGAN has `relu` and `lrelu` only.
        normalize_latents: scale z and the embedded label to a mean square of one first.
    """

    latent_size: int = 512
    label_fmaps: int | None = None
    dlatent_size: int = 512
    dlatent_broadcast: int | None = None
    mapping_nonlinearity: str = "lrelu"
    normalize_latents: bool = True


@dataclass(frozen=True)
class ConcatMappingSpec(MappingSpec):
    """Mapping network of StyleGAN and StyleGAN2, which concatenate z and the embedded label.

    Attributes:
        mapping_fmaps: width of the layers before the last.
    """

    mapping_fmaps: int = 512


# Networks with images at one end


@dataclass(frozen=True)
class ImagesSpec(NetworkSpec):
    """Of every synthesis network and every discriminator.

    Attributes:
        num_channels, resolution: of the images.
        fmap_base, fmap_decay, fmap_min, fmap_max: feature maps at a resolution r are
            fmap_base·2 / r^fmap_decay (for a decay of 1), within [fmap_min, fmap_max].
        nonlinearity: see `fused_bias_act`; StyleGAN has `relu` and `lrelu` only.
        base_size: height and width of the coarsest grid where images are not square, see
            `sizes.level_size`.
    """

    num_channels: int = 3
    resolution: int = 1024
    fmap_base: int = 16 << 10
    fmap_decay: float = 1.0
    fmap_min: int = 1
    fmap_max: int = 512
    nonlinearity: str = "lrelu"
    base_size: Sequence[int] = SQUARE_BASE

    @property
    def log2(self) -> int:
        """n for a resolution of 2^n, which is also the finest level; the coarsest is 2."""
        return resolution_log2(self.resolution)

    def fmaps(self, stage: int) -> int:
        """Number of feature maps by stage (0 at 2×2, 1 at 4×4, …): halves with every doubling."""
        fmaps = int(self.fmap_base / (2.0 ** (stage * self.fmap_decay)))
        return int(np.clip(fmaps, self.fmap_min, self.fmap_max))

    def size(self, level: int) -> tuple[int, int]:
        """(height, width) of images and activations at a level."""
        return level_size(level, self.base_size)


@dataclass(frozen=True)
class StylesSpec:
    """Of every synthesis network.

    Attributes:
        dlatent_size: size of w.
        use_noise: add noise after every convolution; False: no variables for it either.
        randomize_noise: fresh noise instead of the variables noise0, noise1, …
    """

    dlatent_size: int = 512
    use_noise: bool = True
    randomize_noise: bool = True


@dataclass(frozen=True)
class ScoresSpec:
    """Of every discriminator.

    Attributes:
        label_size: size of the labels; 0 without labels.
        mbstd_group_size: group of the minibatch standard deviation; 0 or 1 leaves it out.
        mbstd_num_features: feature maps that it adds.
    """

    label_size: int = 0
    mbstd_group_size: int = 4
    mbstd_num_features: int = 1


@dataclass(frozen=True)
class GrowingSpec:
    """Of networks that grow.

    Attributes:
        structure: see `growing`; `auto` is `linear` in clean graphs, else `recursive`.
    """

    structure: str = "auto"


# StyleGAN2 and ADA


@dataclass(frozen=True)
class Stylegan2Spec(ImagesSpec):
    """Layers of StyleGAN2, with what ADA added to them.

    Attributes:
        architecture: `orig`, `skip` or `resnet` (StyleGAN2, section 4).
        resample_kernel: FIR filter of up- and downsampling; None for boxes.
        num_fp16_res: number of the highest resolutions that are computed in float16, on GPUs
            only; inputs, outputs and variables are float32 (ADA, appendix D).
        conv_clamp: limit of the absolute values after every convolution with its bias and
            activation, ToRGB and FromRGB included; None for none. Keeps float16 within its range.
    """

    architecture: str = "skip"
    resample_kernel: Sequence[float] | None = (1, 3, 3, 1)
    num_fp16_res: int = 0
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture not in ("orig", "skip", "resnet"):
            raise UserError(f"architecture {self.architecture!r}: use one of orig, skip, resnet")


@dataclass(frozen=True)
class SynthesisSpec(StylesSpec, Stylegan2Spec):
    """Synthesis network of StyleGAN2 and of ADA.

    Attributes:
        fmap_const: feature maps of the constant input; None: as many as the first layer has.
        fused_modconv: how modulation is computed, not what: both ways give the same numbers, and
            one way is used for both.
    """

    fmap_const: int | None = None
    fused_modconv: bool = True


@dataclass(frozen=True)
class RevisedSynthesisSpec(GrowingSpec, SynthesisSpec):
    """Synthesis network of StyleGAN2's layers that grows."""


@dataclass(frozen=True)
class DiscriminatorSpec(ScoresSpec, Stylegan2Spec):
    """Discriminator of StyleGAN2, and what ADA's has in common with it.

    Attributes:
        freeze_layers: number of convolutions from the image on that are not trained, skip
            connections counted, those at 4×4 excluded (Mo et al. 2020, "Freeze the discriminator").
    """

    architecture: str = "resnet"
    freeze_layers: int = 0


@dataclass(frozen=True)
class RevisedDiscriminatorSpec(GrowingSpec, DiscriminatorSpec):
    """Discriminator of StyleGAN2's layers that grows."""


@dataclass(frozen=True)
class AdaDiscriminatorSpec(DenseSpec, DiscriminatorSpec):
    """Discriminator of ADA, with a mapping network of labels and what its comparisons add.

    Attributes:
        mapping_layers: depth of the labels' mapping network after the embedding.
        mapping_fmaps: size of the embedded label, and width of the mapping network; None: as many
            as the last hidden layer has. Without labels, no part of it exists.
        mapping_lrmul: its learning-rate multiplier, which the embedding does not have.
        mbstd_group_size: group of the minibatch standard deviation; None: the whole minibatch.
        mbstd_num_features: feature maps that it adds; 0 leaves it out.
        use_pagan: get random bits, and score by their checksum, see `progressive_augmentation`.
        pagan_num, pagan_fade: bits at p = 1; the part of the way to the next in which one fades in.
        score_max: how many scores there are.
        use_spectral_norm: normalize the weights of all 3×3 convolutions, see `spectral_norm`. ADA
            found FromRGB, skip connections and the output better without.
        adaptive_dropout: deviation of multiplicative dropout at p = 1, see `dropout`.
    """

    mapping_layers: int = 0
    mapping_lrmul: float = 0.1
    mbstd_group_size: int | None = None
    use_pagan: bool = False
    pagan_num: int = 16
    pagan_fade: float = 0.5
    score_max: int = 1
    use_spectral_norm: bool = False
    adaptive_dropout: float = 0


# StyleGAN


@dataclass(frozen=True)
class WeightScalingSpec:
    """Of every network of StyleGAN.

    Attributes:
        use_wscale: equalized learning rate.
    """

    use_wscale: bool = True


@dataclass(frozen=True)
class StyleganMappingSpec(WeightScalingSpec, ConcatMappingSpec):
    """Mapping network of StyleGAN."""


@dataclass(frozen=True)
class StyleganSpec(GrowingSpec, WeightScalingSpec, ImagesSpec):
    """Layers of StyleGAN.

    Attributes:
        fused_scale: whether up- or downsampling is merged with the convolution beside it, see
            `stylegan`; `auto`: at high resolutions.
        blur_filter: low-pass filter after upsampling and before downsampling, [n]; None for none.
    """

    fmap_base: int = 8192
    fused_scale: bool | str = "auto"
    blur_filter: Sequence[float] | None = (1, 2, 1)


@dataclass(frozen=True)
class StyleganSynthesisSpec(StylesSpec, StyleganSpec):
    """Synthesis network of StyleGAN.

    Attributes:
        use_styles: modulate every layer by w.
        const_input_layer: begin with a learned constant, else with a dense layer of w.
        use_pixel_norm: normalize the feature vector of every pixel (PGGAN, section 4.2).
        use_instance_norm: normalize every feature map.
    """

    use_styles: bool = True
    const_input_layer: bool = True
    use_pixel_norm: bool = False
    use_instance_norm: bool = True


@dataclass(frozen=True)
class StyleganDiscriminatorSpec(ScoresSpec, StyleganSpec):
    """Discriminator of StyleGAN and Progressive GAN."""

    num_channels: int = 1
    resolution: int = 32
