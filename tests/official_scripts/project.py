"""Finds the w of a picture with the official projector, with other settings than its own."""

import os
import sys

import numpy as np
import PIL.Image
import tensorflow as tf

import dnnlib.tflib as tflib
import projector
from training import misc

network, target, out = sys.argv[1:]
tflib.init_tf()
_G, _D, Gs = misc.load_pkl(network)

image = np.array(PIL.Image.open(target).convert("RGB")).transpose(2, 0, 1)
target_images = misc.adjust_dynamic_range(image[np.newaxis], [0, 255], [-1, 1])

proj = projector.Projector(num_steps=12, initial_learning_rate=0.2, verbose=False)
proj.dlatent_avg_samples = 100
proj.set_network(Gs)
proj.start(target_images)
misc.save_image_grid(target_images, os.path.join(out, "target.png"), drange=[-1, 1])
distances = []
while proj.get_cur_step() < proj.num_steps:
    proj.step()
    distances.append(np.square(proj.get_images() - target_images).mean())
    if proj.get_cur_step() % 6 == 0:
        name = "step%04d.png" % proj.get_cur_step()
        misc.save_image_grid(proj.get_images(), os.path.join(out, name), drange=[-1, 1])
assert distances[-1] < distances[0]

dlatents, noises = proj.get_dlatents(), proj.get_noises()
assert dlatents.shape == (1,) + tuple(Gs.components.synthesis.input_shape[1:])
noise_vars = [v for n, v in Gs.components.synthesis.vars.items() if n.startswith("noise")]
assert len(noises) == len(noise_vars)
tflib.set_vars({var: value for var, value in zip(noise_vars, noises)})
again = Gs.components.synthesis.run(dlatents, randomize_noise=False)
np.testing.assert_allclose(again, proj.get_images(), atol=1e-4)

# The encoder fork: the steps within `run`, keywords for the rest.
faster = projector.Projector(num_steps=5, initial_noise_factor=0.0)
faster.set_network(Gs, minibatch_size=1)
found = faster.run(target_images)
assert found.dlatents.shape == dlatents.shape and len(found.noises) == len(noises)
print("projected with TensorFlow", tf.__version__.split(".")[0])
