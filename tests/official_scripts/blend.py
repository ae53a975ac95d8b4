"""Two networks become one: coarse layers of the first, fine layers of the second."""

import re
import sys

import numpy as np
import tensorflow as tf

import dnnlib.tflib as tflib
from training import misc

first, second, out = sys.argv[1:]
tflib.init_tf({"rnd.np_random_seed": 5})
with misc.open_file_or_url(first) as file:
    assert file.read(1)
_G, _D, low = misc.load_pkl(first)
G, D, high = misc.load_pkl(second)

blended = high.clone("blended")
names = [n for n in low.trainables if re.match(r"G_synthesis/(4x4|8x8)/", n)]
assert names
tflib.set_vars({blended.vars[name]: low.get_var(name) for name in names})
assert np.array_equal(blended.get_var(names[0]), low.get_var(names[0]))
misc.save_pkl((G, D, blended), out + ".pkl")

z = np.random.randn(6, *blended.input_shape[1:])
labels = np.zeros([6, *blended.input_shapes[1][1:]], np.float32)
images = blended.run(z, labels, is_validation=True, randomize_noise=False, minibatch_size=3)
assert images.dtype == np.float32 and images.shape[1] == 3
misc.save_image_grid(images, out + ".png", drange=[-1, 1], grid_size=(3, 2))
assert misc.create_image_grid(images, (2, 3)).shape[1:] == (
    3 * images.shape[2],
    2 * images.shape[3],
)
picture = misc.convert_to_pil_image(images[0], drange=[-1, 1])
assert picture.size == images.shape[:1:-1]
half = misc.adjust_dynamic_range(images, [-1, 1], [0, 255])
np.testing.assert_allclose(half, (images + 1) * 127.5, atol=1e-3)
mirrored = misc.apply_mirror_augment(images.copy())
assert all(
    np.array_equal(m, i) or np.array_equal(m, i[:, :, ::-1]) for m, i in zip(mirrored, images)
)

# The same pictures from the file, in a graph of its own.
with tf.Session(graph=tf.Graph()):
    again = misc.load_pkl(out + ".pkl")[2]
    same = again.run(z, labels, is_validation=True, randomize_noise=False, minibatch_size=3)
np.testing.assert_allclose(same, images, atol=1e-5)
print("largest value %.2f" % np.abs(images).max())
