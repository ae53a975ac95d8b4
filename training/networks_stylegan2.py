"""The networks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), by their official names.

Every network here is a build function of `dnnlib.tflib.Network`: the parameters without default
are the network's inputs, the others its keyword arguments, in snapshots too. They are faces: the
keyword arguments and their defaults are the fields of `architecture.specs` and
`architecture.calls`, apart from what a face says itself, and what is computed is in other modules
of `architecture`. The layers below them are faces too, of `architecture.official_layers`.
"""

from __future__ import annotations

from training.architecture import growing, normalization, official_layers
from training.architecture.discriminator import score_by_class
from training.architecture.faces import OfficialModule
from training.architecture.generator import generator
from training.architecture.mapping import map_with_concatenated_labels
from training.architecture.stylegan2_growing import score_growing, synthesize_growing
from training.architecture.synthesis import synthesize

_official = OfficialModule(__name__)
# What a snapshot or a keyword argument may name.
BUILD_FUNCTIONS = _official.build_functions

G_main = _official.build_function(
    "G_main",
    generator(BUILD_FUNCTIONS, with_lod=True),
    synthesis_func="G_synthesis_stylegan2",
)
G_mapping = _official.build_function(
    "G_mapping", map_with_concatenated_labels, without="label_fmaps", is_part=True
)
G_synthesis_stylegan2 = _official.build_function(
    "G_synthesis_stylegan2",
    synthesize,
    without="fmap_const use_noise num_fp16_res conv_clamp is_training is_template_graph",
    is_part=True,
)
G_synthesis_stylegan_revised = _official.build_function(
    "G_synthesis_stylegan_revised",
    synthesize_growing,
    without="fmap_const use_noise num_fp16_res conv_clamp architecture is_training",
    is_part=True,
)
D_stylegan2 = _official.build_function(
    "D_stylegan2",
    score_by_class,
    without="num_fp16_res conv_clamp freeze_layers random_seed",
)
D_stylegan = _official.build_function(
    "D_stylegan",
    score_growing,
    without="num_fp16_res conv_clamp freeze_layers architecture random_seed",
)

# Layers, for networks of one's own, which create their variables in the current variable scope.
_WEIGHT = "gain use_wscale lrmul weight_var"

get_weight = _official.layer("get_weight", official_layers.get_weight, f"shape {_WEIGHT}")
dense_layer = _official.layer("dense_layer", official_layers.dense_layer, f"x fmaps {_WEIGHT}")
conv2d_layer = _official.layer(
    "conv2d_layer",
    official_layers.conv2d_layer,
    f"x fmaps kernel up down resample_kernel {_WEIGHT}",
)
apply_bias_act = _official.layer(
    "apply_bias_act", official_layers.apply_bias_act, "x act alpha gain lrmul bias_var"
)
naive_upsample_2d = _official.layer(
    "naive_upsample_2d", growing.repeat_pixels, "x factor", factor=2
)
naive_downsample_2d = _official.layer(
    "naive_downsample_2d", growing.average_pixels, "x factor", factor=2
)
modulated_conv2d_layer = _official.layer(
    "modulated_conv2d_layer",
    official_layers.modulated_conv2d_layer,
    "x y fmaps kernel up down demodulate resample_kernel gain use_wscale lrmul fused_modconv "
    "weight_var mod_weight_var mod_bias_var",
)
minibatch_stddev_layer = _official.layer(
    "minibatch_stddev_layer",
    normalization.minibatch_stddev_layer,
    "x group_size num_new_features",
)
