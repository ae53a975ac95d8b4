"""Pictures from a published network, as people make them with the official code."""

import argparse
import os

import numpy as np
import PIL.Image
import tensorflow as tf

import dnnlib
import dnnlib.tflib as tflib
import pretrained_networks

parser = argparse.ArgumentParser()
parser.add_argument("--network", required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)

print("Loading networks from", args.network)
_G, _D, Gs = pretrained_networks.load_networks(args.network)
assert tf.get_default_session() is not None
noise_vars = [v for name, v in Gs.components.synthesis.vars.items() if name.startswith("noise")]

options = dnnlib.EasyDict()
options.output_transform = dict(func=tflib.convert_images_to_uint8, nchw_to_nhwc=True)
options.randomize_noise = False
options.minibatch_size = 4

# From z, with noise that goes with the seed.
for seed in (1, 2):
    random = np.random.RandomState(seed)
    z = random.randn(1, *Gs.input_shape[1:])
    tflib.set_vars({v: random.randn(*v.shape.as_list()) for v in noise_vars})
    images = Gs.run(z, None, truncation_psi=0.5, **options)
    PIL.Image.fromarray(images[0], "RGB").save(os.path.join(args.out, "seed%04d.png" % seed))

# From w, truncated by hand.
w_avg = Gs.get_var("dlatent_avg")
z = np.stack([np.random.RandomState(seed).randn(Gs.input_shape[1]) for seed in (1, 2, 3)])
w = Gs.components.mapping.run(z, None)
w = w_avg + (w - w_avg) * 0.5
images = Gs.components.synthesis.run(w, **options)
assert np.array_equal(images[1], np.array(PIL.Image.open(os.path.join(args.out, "seed0002.png"))))

# Styles of one row mixed into another.
mixed = w[:1].copy()
mixed[:, :4] = w[1:2, :4]
canvas = np.concatenate([images[0], Gs.components.synthesis.run(mixed, **options)[0]], axis=1)
PIL.Image.fromarray(canvas, "RGB").save(os.path.join(args.out, "mixed.png"))

# A walk in w as GIF.
steps = [w[:1] + (w[1:2] - w[:1]) * t for t in np.linspace(0, 1, 5)]
frames = Gs.components.synthesis.run(np.concatenate(steps), **options)
first, *others = [PIL.Image.fromarray(frame, "RGB") for frame in frames]
first.save(
    os.path.join(args.out, "walk.gif"), save_all=True, append_images=others, duration=100, loop=0
)

# Expressions in the graph, as notebooks have them.
z_in = tf.placeholder(tf.float32, [None, Gs.input_shape[1]], name="z_in")
w_out = Gs.components.mapping.get_output_for(z_in, tf.zeros([tf.shape(z_in)[0], 0]))
with tf.variable_scope("own"):
    length = tf.reduce_mean(tf.norm(w_out[:, 0], axis=-1))
value = tf.get_default_session().run(length, {z_in: z})
print("mean length of w: %.3f" % value)
expected = Gs.components.mapping.run(z, None)[:, 0]
np.testing.assert_allclose(value, np.linalg.norm(expected, axis=-1).mean(), rtol=1e-5)
