"""A small classifier of photos, whose last features serve as --feature-net of metrics.

    python tests/benchmarks/feature_network.py DATASET OUT.pb [--test=DATASET]

DATASET has labels, from `dataset_tool.py create_from_images ... --labels=folders`. The frozen graph
OUT.pb takes images [N, H, W, 3] of 0 to 255 and gives features [N, 128]. With two datasets it
prints the accuracy on both.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import cli, tflib  # isort: skip
import numpy as np
import tensorflow.compat.v1 as tf

from training.dataset import TFRecordDataset

WIDTHS = (32, 64, 128)  # Maps of each pair of convolutions; the last are the features.
STEPS, BATCH, LEARNING_RATE = 2500, 64, 2e-3
SHIFT = 3  # Pixels that photos are moved by, at most, in training.
NOISE = 0.1  # Share of the labels that is spread over all classes.


def read_images(tfrecord_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """All images uint8 [N, H, W, 3] and labels float32 [N, classes] of a dataset."""
    dataset = TFRecordDataset(tfrecord_dir)
    images, labels = dataset.get_minibatch_np(dataset.num_images)
    dataset.close()
    return images.transpose(0, 2, 3, 1), labels


def features(images: tf.Tensor) -> tf.Tensor:
    """[N, H, W, 3] of 0 to 255 to [N, 128]: convolutions, halving in between, and the mean."""
    x = images / 127.5 - 1
    for i, width in enumerate(WIDTHS):
        for part in "ab":
            shape = [3, 3, int(x.shape[-1]), width]
            normal = tf.random_normal_initializer(stddev=np.sqrt(2 / np.prod(shape[:3])))
            kernel = tf.get_variable(f"kernel{i}{part}", shape, initializer=normal)
            bias = tf.get_variable(f"bias{i}{part}", width, initializer=tf.zeros_initializer())
            x = tf.nn.leaky_relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
        if i < len(WIDTHS) - 1:
            x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
    return tf.reduce_mean(x, axis=[1, 2], name="features")


def varied(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors half of the images and moves all of them; the margin is that of white photos."""
    n, height, width, _ = images.shape
    margin = [(0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)]
    padded = np.pad(images, margin, constant_values=255)
    moved = np.empty_like(images)
    for i, (y, x) in enumerate(rng.integers(2 * SHIFT + 1, size=[n, 2])):
        moved[i] = padded[i, y : y + height, x : x + width]
    mirrored = rng.random(n) < 0.5
    moved[mirrored] = moved[mirrored, :, ::-1]
    return moved


def train(tfrecord_dir: str, test_dir: str | None, path: str) -> None:
    """Trains the classifier and writes the frozen graph of its features."""
    images, labels = read_images(tfrecord_dir)
    rng = np.random.default_rng(0)
    with tflib.graph_session(seed=0) as session:
        x = tf.placeholder(tf.float32, [None, None, None, 3], name="images")
        y = tf.placeholder(tf.float32, [None, labels.shape[1]])
        z = features(x)
        weight = tf.get_variable("classes", [z.shape[1], labels.shape[1]])
        logits = tf.matmul(z, weight)
        loss = tf.losses.softmax_cross_entropy(y, logits, label_smoothing=NOISE)
        rate = tf.train.cosine_decay(LEARNING_RATE, tf.train.get_or_create_global_step(), STEPS)
        step = tf.train.AdamOptimizer(rate).minimize(loss, tf.train.get_global_step())
        tflib.init_uninitialized_vars()
        for i in range(STEPS):
            chosen = rng.integers(len(images), size=BATCH)
            feeds = {x: varied(images[chosen], rng), y: labels[chosen]}
            value = session.run([loss, step], feeds)[0]
            if i % 250 == 0:
                print(f"step {i:5}  loss {value:.3f}", flush=True)
        for folder in filter(None, (tfrecord_dir, test_dir)):
            images, labels = read_images(folder)
            hits = session.run(logits, {x: images}).argmax(1) == labels.argmax(1)
            print(f"{os.path.basename(folder)}: {hits.mean():.1%} of {len(images)} are classified")
        graph = tf.get_default_graph().as_graph_def()
        graph = tf.graph_util.convert_variables_to_constants(session, graph, ["features"])
    Path(path).write_bytes(graph.SerializeToString())


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=cli.path)
    parser.add_argument("out", type=cli.path)
    parser.add_argument("--test", type=cli.path, help="dataset to measure the accuracy on too")
    args = parser.parse_args()
    train(args.dataset, args.test, args.out)


if __name__ == "__main__":
    cli.run(main)
