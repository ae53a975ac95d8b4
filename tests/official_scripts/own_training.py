"""A network of one's own, made of the official layers, trained in a loop of one's own."""

import sys

import numpy as np
import tensorflow as tf

import dnnlib
import dnnlib.tflib as tflib
from dnnlib.tflib.autosummary import autosummary
from dnnlib.tflib.ops.upfirdn_2d import downsample_2d
from training import dataset, misc
from training.networks_stylegan2 import (
    apply_bias_act,
    conv2d_layer,
    dense_layer,
    get_weight,
    minibatch_stddev_layer,
    modulated_conv2d_layer,
)


def D_tiny(images_in, labels_in, num_channels=3, resolution=8, label_size=0, fmaps=8, **_kwargs):
    images_in.set_shape([None, num_channels, resolution, resolution])
    labels_in.set_shape([None, label_size])
    x = images_in
    with tf.variable_scope("Conv0"):
        x = apply_bias_act(conv2d_layer(x, fmaps, kernel=3), act="lrelu")
    with tf.variable_scope("Conv1_down"):
        x = conv2d_layer(x, fmaps, kernel=3, down=True, resample_kernel=[1, 3, 3, 1])
        x = apply_bias_act(x, act="lrelu")
    x = downsample_2d(x, k=[1, 2, 1])
    x = minibatch_stddev_layer(x, group_size=4)
    with tf.variable_scope("Output"):
        return apply_bias_act(dense_layer(x, max(label_size, 1)))


def G_tiny(
    latents_in,
    labels_in,
    num_channels=3,
    resolution=8,
    label_size=0,
    fmaps=8,
    latent_size=16,
    **_kwargs,
):
    latents_in.set_shape([None, latent_size])
    labels_in.set_shape([None, label_size])
    with tf.variable_scope("Dense"):
        x = apply_bias_act(dense_layer(latents_in, fmaps * 16), act="lrelu")
    x = tf.reshape(x, [-1, fmaps, 4, 4])
    with tf.variable_scope("Up"):
        x = modulated_conv2d_layer(
            x, latents_in, fmaps, kernel=3, up=True, resample_kernel=[1, 3, 3, 1]
        )
        x = apply_bias_act(x, act="lrelu")
    with tf.variable_scope("ToRGB"):
        y = modulated_conv2d_layer(x, latents_in, num_channels, kernel=1, demodulate=False)
    with tf.variable_scope("Tint"):
        tint = tf.matmul(latents_in, get_weight([latent_size, num_channels]))
    return apply_bias_act(y) + tint[:, :, tf.newaxis, tf.newaxis]


def train(submit_config, data_dir, num_steps):
    tflib.init_tf({"rnd.np_random_seed": 7, "rnd.tf_random_seed": 7})
    training_set = dataset.load_dataset(
        data_dir=data_dir, tfrecord_dir="drawn", max_label_size="full"
    )
    shape = dict(num_channels=training_set.shape[0], resolution=training_set.shape[1])
    G = tflib.Network("G", func_name=G_tiny, label_size=training_set.label_size, **shape)
    D = tflib.Network("D", func_name=D_tiny, label_size=training_set.label_size, **shape)
    D.print_layers()

    training_set.configure(minibatch_size=8)
    reals, labels = training_set.get_minibatch_tf()
    reals = tf.cast(reals, tf.float32) / 127.5 - 1.0
    latents = tf.random_normal([8, *G.input_shapes[0][1:]])
    fakes = G.get_output_for(latents, labels, is_training=True)
    real_scores = D.get_output_for(reals, labels, is_training=True)
    fake_scores = D.get_output_for(fakes, labels, is_training=True)
    D_loss = tf.nn.softplus(fake_scores) + tf.nn.softplus(-real_scores)
    D_loss = autosummary("Loss/D", D_loss)
    G_loss = tf.nn.softplus(-fake_scores)

    updates = []
    for name, net, loss in (("TrainG", G, G_loss), ("TrainD", D, D_loss)):
        opt = tflib.Optimizer(name=name, learning_rate=0.002, beta1=0.0, beta2=0.99)
        opt.register_gradients(tf.reduce_mean(loss), net.trainables)
        updates.append(opt.apply_updates())
    tflib.init_uninitialized_vars()

    before = D.get_var("Conv0/weight")
    for _ in range(num_steps):
        tflib.run(updates)
    assert np.isfinite(D.get_var("Conv0/weight")).all()
    assert not np.array_equal(before, D.get_var("Conv0/weight"))
    images = G.run(np.random.randn(4, 16), np.zeros([4, training_set.label_size]))
    run_dir = submit_config.run_dir
    misc.save_image_grid(images, dnnlib.make_run_dir_path("fakes.png"), [-1, 1], (2, 2))
    misc.save_pkl((G, D, G.clone("Gs")), dnnlib.make_run_dir_path("network-final.pkl"))
    training_set.close()
    print("trained in", run_dir, "for", dnnlib.util.format_time(1))


if __name__ == "__main__":
    data_dir, results = sys.argv[1:]
    submit_config = dnnlib.SubmitConfig()
    submit_config.run_dir_root = results
    submit_config.run_desc = "tiny"
    submit_config.submit_target = dnnlib.SubmitTarget.LOCAL
    submit_config.local.do_not_copy_source_files = True
    dnnlib.submit_run(submit_config, "own_training.train", data_dir=data_dir, num_steps=3)
