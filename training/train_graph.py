"""The graph of a training step: losses on every replica, optimizers, weight average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, Optimizer
from dnnlib.tflib.optimizer import lazy_regularization_args
from training import loss
from training.dataset import TFRecordDataset
from training.options import TrainingOptions
from training.random_streams import stream, uniform

# What `func_name` in G_loss_args and D_loss_args may name.
LOSSES: dict[str, Callable] = {
    f"training.loss.{f.__name__}": f
    for f in (loss.G_logistic_ns, loss.G_logistic_ns_pathreg, loss.D_logistic_r1)
}


class TrainGraph:
    """The ops of a training step, and the order in which they run.

    Args:
        G, D, Gs: generator, discriminator, weight average of the generator.
        training_set: gives labels for fakes.
        options: of the run.
        devices: one a replica.

    Attributes:
        pl_mean: running mean of path lengths.
        rounds: accumulation rounds a step.
    """

    def __init__(
        self,
        G: Network,
        D: Network,
        Gs: Network,
        training_set: TFRecordDataset,
        options: TrainingOptions,
        devices: list[str],
    ):
        self._options = options
        self._round_size = options.minibatch_gpu * len(devices)
        self.rounds = options.minibatch_size // self._round_size
        if self.rounds * self._round_size != options.minibatch_size:
            raise UserError(
                f"--batch={options.minibatch_size} is not a multiple of --batch-gpu="
                f"{options.minibatch_gpu} times {len(devices)} replicas"
            )
        self.pl_mean = loss.PathLengthMean()
        self._reals = tf.placeholder(tf.uint8, [self._round_size, *training_set.shape], "reals")
        self._labels = tf.placeholder(
            tf.float32, [self._round_size, training_set.label_size], "labels"
        )
        self._position = tf.placeholder(tf.int32, [], "position")
        with tf.name_scope("Optimizers"):
            G_opt, G_reg = self._optimizers("G", options.G_opt_args, options.G_lrate)
            D_opt, D_reg = self._optimizers("D", options.D_opt_args, options.D_lrate)
        seed = tf.stack([tf.constant(options.seed, tf.int32), self._position])
        for i, device in enumerate(devices):
            with tf.name_scope(f"Replica{i}"), tf.device(device):
                rows = slice(i * options.minibatch_gpu, (i + 1) * options.minibatch_gpu)
                common = {
                    "G": G,
                    "D": D,
                    "training_set": training_set,
                    "minibatch_size": options.minibatch_gpu,
                    "seed": stream(seed, "replica", i),
                }
                if i > 0:  # One replica moves the mean of w: several would race.
                    common["dlatent_avg_beta"] = None
                self._build_replica(common, rows, (G_opt, G_reg, D_opt, D_reg))
        self._G_op, self._G_reg_op = G_opt.apply_updates(), self._apply_reg(G_reg)
        if self._G_reg_op is not None:
            self._G_reg_op = tf.group(self._G_reg_op, self.pl_mean.apply())
        self._D_op, self._D_reg_op = D_opt.apply_updates(), self._apply_reg(D_reg)
        # A weight average of half-life G_smoothing_kimg (StyleGAN2, appendix B; PGGAN, section A).
        half_life = max(options.G_smoothing_kimg * 1000, 1e-8)
        beta = 0.5 ** (options.minibatch_size / half_life)
        # D's step moves G's mean of w, which the average copies: the one has to follow the other.
        # Only where a step is one round can they share a call.
        with tf.control_dependencies([self._D_op] if self.rounds == 1 else None):
            self._Gs_op = Gs.setup_as_moving_average_of(G, beta=beta)

    def step(self, position: int, minibatch: int, reals: np.ndarray, labels: np.ndarray) -> None:
        """Trains on one minibatch: G, its regulariser, D and the weight average, its regulariser.

        Args:
            position: images seen by the run before this minibatch.
            minibatch: its number: says when to regularise.
            reals: uint8 [minibatch_size, C, H, W].
            labels: float32 [minibatch_size, label_size].
        """
        options = self._options
        run_G_reg = self._G_reg_op is not None and minibatch % options.G_reg_interval == 0
        run_D_reg = self._D_reg_op is not None and minibatch % options.D_reg_interval == 0
        feeds = []
        for i in range(self.rounds):
            rows = slice(i * self._round_size, (i + 1) * self._round_size)
            feeds.append(
                {
                    self._position: position + i * self._round_size,
                    self._reals: reals[rows],
                    self._labels: labels[rows],
                }
            )
        for ops in (
            self._G_op,
            self._G_reg_op if run_G_reg else None,
            self._D_op if self.rounds > 1 else None,
        ):
            if ops is not None:
                for feed in feeds:
                    tflib.run(ops, feed)
        tflib.run(self._Gs_op, feeds[-1])
        if run_D_reg:
            for feed in feeds:
                tflib.run(self._D_reg_op, feed)

    def _optimizers(self, name: str, args: dict[str, Any], lrate: float):
        """Optimizer of the loss, and one for the regulariser that shares its state."""
        options = self._options
        lazy = options.lazy_regularization
        interval = {"G": options.G_reg_interval, "D": options.D_reg_interval}[name]
        args = lazy_regularization_args(lrate, interval if lazy else None, **args)
        args["minibatch_multiplier"] = self.rounds if self.rounds > 1 else None
        main = Optimizer(name=f"Train{name}", **args)
        return main, Optimizer(name=f"Reg{name}", share=main, **args) if lazy else None

    def _build_replica(self, common: dict[str, Any], rows: slice, optimizers) -> None:
        options = self._options
        G_opt, G_reg, D_opt, D_reg = optimizers
        extra = {"pl_mean": self.pl_mean}
        G_loss, penalty = _call_loss(options.G_loss_args, extra, **common)
        self._register(G_opt, G_reg, G_loss, penalty, options.G_reg_interval, common["G"])
        reals = self._process_reals(self._reals[rows], common["seed"])
        extra = {"reals": reals, "labels": self._labels[rows]}
        D_loss, penalty = _call_loss(options.D_loss_args, extra, **common)
        self._register(D_opt, D_reg, D_loss, penalty, options.D_reg_interval, common["D"])

    def _register(self, main, lazy, loss_value, penalty, interval, network):
        if penalty is not None and lazy is not None:
            # Less often, therefore as much stronger.
            lazy.register_gradients(penalty * interval, network.trainables)
        elif penalty is not None:
            loss_value = tf.reduce_mean(loss_value) + tf.reduce_mean(penalty)
        main.register_gradients(loss_value, network.trainables)

    def _process_reals(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """uint8 images as the discriminator sees them."""
        images = tflib.convert_images_from_uint8(images)
        if self._options.mirror_augment:
            draw = uniform([images.shape[0], 1, 1, 1], stream(seed, "mirror"))
            mask = tf.broadcast_to(draw < 0.5, tf.shape(images))
            images = tf.where(mask, images, tf.reverse(images, [3]))
        return images

    def _apply_reg(self, optimizer: Optimizer | None) -> tf.Operation | None:
        has_gradients = optimizer is not None and optimizer.has_gradients
        return optimizer.apply_updates() if has_gradients else None


def _call_loss(args: dict[str, Any], extra: dict[str, Any], **kwargs: Any):
    """Calls the loss that `args` names with those of the extra arguments that it takes."""
    args = dict(args)
    name = args.pop("func_name")
    if name not in LOSSES:
        raise UserError(f"no loss {name!r}: use one of {', '.join(LOSSES)}")
    function = LOSSES[name]
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
    unknown = sorted(set(args) - set(parameters))
    if unknown:
        raise UserError(f"{name}() has no keyword argument {', '.join(unknown)}")
    offered = {key: value for key, value in extra.items() if key in parameters}
    return function(**kwargs, **offered, **args)
