"""The networks of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676), by their official names.

Faces as in `networks_stylegan2`, over the same bodies. What differs from StyleGAN2: labels are
embedded, activations can be clamped, the highest resolutions can be computed in float16.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from training.architecture import normalization, official_layers
from training.architecture.discriminator import score_by_projection
from training.architecture.faces import OfficialModule
from training.architecture.generator import generator
from training.architecture.mapping import map_with_embedded_labels
from training.architecture.synthesis import synthesize

_official = OfficialModule(__name__)
# What a snapshot or a keyword argument may name.
BUILD_FUNCTIONS = _official.build_functions

G_main = _official.build_function("G_main", generator(BUILD_FUNCTIONS, with_lod=False))
G_mapping = _official.build_function("G_mapping", map_with_embedded_labels, is_part=True)
G_synthesis = _official.build_function(
    "G_synthesis",
    synthesize,
    without="is_training is_template_graph",
    is_part=True,
    fused_modconv=False,
)
D_main = _official.build_function("D_main", score_by_projection)

# Layers, for networks of one's own, which create their variables in the current variable scope.
_WEIGHT = "lrmul weight_var trainable use_spectral_norm"
_RESAMPLING = "up down resample_kernel"

get_weight = _official.layer(
    "get_weight", official_layers.get_weight, f"shape gain equalized_lr {_WEIGHT}"
)
apply_bias_act = _official.layer(
    "apply_bias_act",
    official_layers.apply_bias_act,
    "x act gain lrmul clamp bias_var trainable",
)
dense_layer = _official.layer("dense_layer", official_layers.dense_layer, f"x fmaps {_WEIGHT}")
conv2d = _official.layer("conv2d", official_layers.conv2d, f"x w {_RESAMPLING} padding")
conv2d_layer = _official.layer(
    "conv2d_layer",
    official_layers.conv2d_layer,
    f"x fmaps kernel {_RESAMPLING} lrmul trainable use_spectral_norm",
)
modulated_conv2d_layer = _official.layer(
    "modulated_conv2d_layer",
    official_layers.modulated_conv2d_layer,
    "x y fmaps kernel up down demodulate resample_kernel lrmul fused_modconv trainable "
    "use_spectral_norm",
    fused_modconv=False,
)
minibatch_stddev_layer = _official.layer(
    "minibatch_stddev_layer",
    normalization.minibatch_stddev_layer,
    "x group_size num_new_features",
    group_size=None,
)
apply_spectral_norm = _official.layer(
    "apply_spectral_norm", official_layers.apply_spectral_norm, "w state_var iterations eps"
)


def normalize_2nd_moment(x: tf.Tensor, axis: int = 1, eps: float = 1e-8) -> tf.Tensor:
    """Scales vectors along an axis to a mean square of one."""
    return normalization.normalize_2nd_moment(x, axis, eps)
