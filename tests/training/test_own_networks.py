"""Networks that a user builds of the layers by their official names give the official numbers."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import assert_close, check_path_lengths, check_scores

from dnnlib import tflib
from dnnlib.tflib import Network
from dnnlib.tflib.ops.upfirdn_2d import upsample_2d
from training import networks as ada
from training import networks_stylegan as sg1
from training import networks_stylegan2 as sg2

FILTER = [1, 3, 3, 1]
WSCALE = {"use_wscale": True}


# All of 16×16 pixels and 24 feature maps, as in the golden files.


def scope(*names):
    return tf.variable_scope("/".join(map(str, names)))


def noise_inputs(*sizes):
    zeros = tf.initializers.zeros()
    return [
        tf.get_variable(f"noise{i}", [1, 1, size, size], initializer=zeros, trainable=False)
        for i, size in enumerate(sizes)
    ]


def constant(dlatents):
    x = tf.get_variable("const", [1, 24, 4, 4], initializer=tf.initializers.ones())
    return tf.tile(x, [tf.shape(dlatents)[0], 1, 1, 1])


def normalize(x):
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=1, keepdims=True) + 1e-8)


def skip_synthesis(layers: ModuleType, **clamp):
    """Images are sums of what every resolution gives (StyleGAN2, figure 7)."""

    def synthesis(dlatents_in, **_kwargs):
        dlatents_in.set_shape([None, 6, 24])
        noise = noise_inputs(4, 8, 8, 16, 16)

        def layer(x, i, up=False):
            w = dlatents_in[:, i]
            x = layers.modulated_conv2d_layer(x, w, 24, 3, up, resample_kernel=FILTER)
            zeros = tf.initializers.zeros()
            x += noise[i] * tf.get_variable("noise_strength", [], initializer=zeros)
            return layers.apply_bias_act(x, act="lrelu", **clamp)

        def torgb(x, i):
            with scope("ToRGB"):
                w = dlatents_in[:, i]
                x = layers.modulated_conv2d_layer(x, w, 3, kernel=1, demodulate=False)
                return layers.apply_bias_act(x, **clamp)

        with scope("4x4"):
            with scope("Const"):
                x = constant(dlatents_in)
            with scope("Conv"):
                x = layer(x, 0)
            images = torgb(x, 1)
        for i, size in ((1, "8x8"), (3, "16x16")):
            with scope(size):
                with scope("Conv0_up"):
                    x = layer(x, i, up=True)
                with scope("Conv1"):
                    x = layer(x, i + 1)
                images = upsample_2d(images, k=FILTER) + torgb(x, i + 2)
        return images

    return synthesis


def residual_features(layers: ModuleType, images, **clamp):
    """Features [N, 24] of a discriminator with skip connections (StyleGAN2, figure 7)."""
    images.set_shape([None, 3, 16, 16])

    def conv(x, kernel=3, **options):
        x = layers.conv2d_layer(x, 24, kernel, **options)
        return layers.apply_bias_act(x, "lrelu", **clamp)

    down = {"down": True, "resample_kernel": FILTER}
    with scope("16x16/FromRGB"):
        x = conv(images, kernel=1)
    for size in ("16x16", "8x8"):
        with scope(size):
            with scope("Skip"):
                short = layers.conv2d_layer(x, 24, 1, **down)
            with scope("Conv0"):
                x = conv(x)
            with scope("Conv1_down"):
                x = (conv(x, **down) + short) * np.sqrt(0.5)
    with scope("4x4"):
        x = layers.minibatch_stddev_layer(x, group_size=4)
        with scope("Conv"):
            x = conv(x)
        with scope("Dense0"):
            return layers.apply_bias_act(layers.dense_layer(x, 24), "lrelu")


def stylegan2_mapping(latents_in, labels_in):
    latents_in.set_shape([None, 24])
    labels_in.set_shape([None, 0])
    x = normalize(latents_in)
    for i in range(4):
        with scope(f"Dense{i}"):
            x = sg2.dense_layer(x, 24, lrmul=0.01)
            x = sg2.apply_bias_act(x, act="lrelu", lrmul=0.01)
    return x


def stylegan2_discriminator(images_in, labels_in, **_kwargs):
    labels_in.set_shape([None, 0])
    x = residual_features(sg2, images_in)
    with scope("Output"):
        return sg2.apply_bias_act(sg2.dense_layer(x, 1))


def ada_embedding(labels):
    labels.set_shape([None, 3])
    with scope("LabelEmbed"):
        return ada.normalize_2nd_moment(ada.apply_bias_act(ada.dense_layer(labels, 24)))


def ada_mapping(latents_in, labels_in):
    latents_in.set_shape([None, 24])
    x = tf.concat([ada.normalize_2nd_moment(latents_in), ada_embedding(labels_in)], axis=1)
    for i in range(2):
        with scope(f"Dense{i}"):
            x = ada.apply_bias_act(ada.dense_layer(x, 24, lrmul=0.01), "lrelu", lrmul=0.01)
    return x


def ada_discriminator(images_in, labels_in, **_kwargs):
    m = ada_embedding(labels_in)
    for i in range(2):
        with scope(f"Mapping{i}"):
            m = ada.apply_bias_act(ada.dense_layer(m, 24, lrmul=0.1), "lrelu", lrmul=0.1)
    x = residual_features(ada, images_in, clamp=1.5)
    with scope("Output"):
        x = ada.apply_bias_act(ada.dense_layer(x, 24))
    return tf.reduce_sum(x * m, axis=1, keepdims=True) / np.sqrt(24)


def level_of_detail():
    return tf.get_variable("lod", [], initializer=tf.initializers.zeros(), trainable=False)


def stylegan_mapping(latents_in, labels_in):
    latents_in.set_shape([None, 24])
    labels_in.set_shape([None, 0])
    x = sg1.pixel_norm(latents_in)
    for i in range(4):
        with scope(f"Dense{i}"):
            x = sg1.dense(x, 24, lrmul=0.01, **WSCALE)
            x = sg1.leaky_relu(sg1.apply_bias(x, lrmul=0.01))
    return x


def stylegan_synthesis(dlatents_in, **_kwargs):
    dlatents_in.set_shape([None, 6, 24])
    lod, noise = level_of_detail(), noise_inputs(4, 4, 8, 8, 16, 16)

    def finish(x, i):
        x = sg1.apply_noise(x, noise[i], randomize_noise=False)
        x = sg1.instance_norm(sg1.leaky_relu(sg1.apply_bias(x)))
        return sg1.style_mod(x, dlatents_in[:, i], **WSCALE)

    def torgb(x, level):
        with scope(f"ToRGB_lod{level}"):
            return sg1.apply_bias(sg1.conv2d(x, 3, 1, gain=1, **WSCALE))

    with scope("4x4"):
        with scope("Const"):
            x = finish(constant(dlatents_in), 0)
        with scope("Conv"):
            x = finish(sg1.conv2d(x, 24, 3, **WSCALE), 1)
    images = torgb(x, 2)
    for i, size, level in ((2, "8x8", 1), (4, "16x16", 0)):
        with scope(size, "Conv0_up"):
            x = finish(sg1.blur2d(sg1.upscale2d_conv2d(x, 24, 3, **WSCALE)), i)
        with scope(size, "Conv1"):
            x = finish(sg1.conv2d(x, 24, 3, **WSCALE), i + 1)
        images = tflib.lerp_clip(torgb(x, level), sg1.upscale2d(images), lod - level)
    return images


def stylegan_discriminator(images_in, labels_in, **_kwargs):
    images_in.set_shape([None, 3, 16, 16])
    labels_in.set_shape([None, 0])
    lod = level_of_detail()

    def activate(x):
        return sg1.leaky_relu(sg1.apply_bias(x))

    def fromrgb(images, level):
        with scope(f"FromRGB_lod{level}"):
            return activate(sg1.conv2d(images, 24, 1, **WSCALE))

    x, images = fromrgb(images_in, 0), images_in
    for level, size in enumerate(("16x16", "8x8")):
        with scope(size, "Conv0"):
            x = activate(sg1.conv2d(x, 24, 3, **WSCALE))
        with scope(size, "Conv1_down"):
            x = activate(sg1.conv2d_downscale2d(sg1.blur2d(x), 24, 3, **WSCALE))
        images = sg1.downscale2d(images)
        x = tflib.lerp_clip(x, fromrgb(images, level + 1), lod - level)
    with scope("4x4"):
        x = sg1.minibatch_stddev_layer(x)
        with scope("Conv"):
            x = activate(sg1.conv2d(x, 24, 3, **WSCALE))
        with scope("Dense0"):
            x = activate(sg1.dense(x, 24, **WSCALE))
        with scope("Dense1"):
            return sg1.apply_bias(sg1.dense(x, 1, gain=1, **WSCALE))


OWN_NETWORKS = {
    "sg2_skip_resnet": (stylegan2_mapping, skip_synthesis(sg2), stylegan2_discriminator),
    "ada_cond3_clamp": (ada_mapping, skip_synthesis(ada, clamp=1.5), ada_discriminator),
    "sg1_config_a_lod0.4": (stylegan_mapping, stylegan_synthesis, stylegan_discriminator),
}


def with_values(function, arrays, prefix):
    """A network of a user's own function, with golden values by official names."""
    network = Network(prefix.rstrip("/").rpartition("/")[2], function)
    values = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    assert set(network.vars) == set(values)
    for name, value in values.items():
        network.set_var(name, value)
    return network


@pytest.mark.parametrize("name", OWN_NETWORKS)
def test_own_networks_give_the_official_numbers(session, golden, name):
    arrays = golden(f"{name}.npz").arrays
    mapping, synthesis, discriminator = OWN_NETWORKS[name]
    mapping = with_values(mapping, arrays, "G/G_mapping/")
    synthesis = with_values(synthesis, arrays, "G/G_synthesis/")
    D = with_values(discriminator, arrays, "D/")
    assert_close(mapping.run(arrays["z"], arrays["labels"]), arrays["dlatents"][:, 0])
    assert_close(synthesis.run(arrays["dlatents"]), arrays["images_from_dlatents"])
    if name == "sg2_skip_resnet":  # To the second derivative.
        check_scores(arrays, D)
        check_path_lengths(arrays, synthesis)
    else:
        assert_close(D.run(arrays["D_images"], arrays["D_labels"]), arrays["scores"])
