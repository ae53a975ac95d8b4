"""The graph of a training step: losses on every replica, optimizers, weight average."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, Optimizer, static_kwargs
from dnnlib.tflib.autosummary import autosummary
from dnnlib.tflib.optimizer import lazy_regularization_args
from training import loss
from training.architecture import spectral_norm
from training.augmentation.adaptive import MAX_STRENGTH, AdaptiveAugment, AugmentedDiscriminator
from training.augmentation.strength import StrengthenedDiscriminator
from training.config.comparison_methods import find_method
from training.config.options import TrainingOptions
from training.config.schedule import Schedule, training_schedule
from training.dataset import TFRecordDataset
from training.losses import consistency, rotations
from training.random_streams import stream, uniform

# What `func_name` in G_loss_args and D_loss_args may name.
LOSSES: dict[str, Callable] = {
    f"{module.__name__}.{f.__name__}": f
    for module in (loss, consistency, rotations)
    for f in module.LOSS_FUNCTIONS
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
        augment: what the discriminator sees.
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
        self._num_replicas = len(devices)
        self._shape = training_set.shape
        self._resolution_log2 = training_set.resolution_log2
        self._is_growing = not options.sched_args.is_constant
        self.pl_mean = loss.PathLengthMean()
        # Where p augments no images, nothing leaks.
        self._has_strength = find_method(options.cmethod).has_strength
        limit = 1.0 if self._has_strength else MAX_STRENGTH
        self.augment = AdaptiveAugment(options.augment_args, limit)
        self._reals = tf.placeholder(tf.uint8, [None, self._shape[0], None, None], "reals")
        self._labels = tf.placeholder(tf.float32, [None, training_set.label_size], "labels")
        self._scalars = {
            name: tf.placeholder(dtype, [], name)
            for name, dtype in {
                "position": tf.int32,
                "minibatch_gpu": tf.int32,
                "minibatch_size": tf.int32,
                "rounds": tf.int32,
                "lod": tf.float32,
                "G_lrate": tf.float32,
                "D_lrate": tf.float32,
                "Gs_beta": tf.float32,
            }.items()
        }
        self._seed = tf.stack([tf.constant(options.seed, tf.int32), self._scalars["position"]])
        with tf.name_scope("Optimizers"):
            self._G_opt, G_reg = self._optimizers("G", options.G_opt_args)
            self._D_opt, D_reg = self._optimizers("D", options.D_opt_args)
        self._build_replicas(G, D, training_set, devices, G_reg, D_reg)
        self._G_op, self._G_reg_op = self._G_opt.apply_updates(), _apply(G_reg)
        if self._G_reg_op is not None:
            self._G_reg_op = tf.group(self._G_reg_op, self.pl_mean.apply())
        else:
            self._G_op = tf.group(self._G_op, self.pl_mean.apply())
        self._D_op, self._D_reg_op = self._D_opt.apply_updates(), _apply(D_reg)
        told = (tf.get_collection(name) for name in (loss.REAL_SIGNS, loss.MEAN_SCORES))
        self._D_op = tf.group(self._D_op, self.augment.collect(*told))
        self._validation_op = self._build_validation(D, devices, training_set.num_held_out > 0)
        self._spectral_op = spectral_norm.build_update(D)
        self._augment_op = self.augment.build_move(self._scalars["minibatch_size"])
        self._Gs_op = Gs.setup_as_moving_average_of(G, beta=self._scalars["Gs_beta"])
        with tf.name_scope("AssignLod"):
            nets = [net for net in (G, D) if "lod" in net.vars]
            self._lod_op = tf.group(*(n.vars["lod"].assign(self._scalars["lod"]) for n in nets))

    def step(
        self,
        schedule: Schedule,
        position: int,
        minibatch: int,
        reals: np.ndarray,
        labels: np.ndarray,
        held_out: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Trains on one minibatch: G, its regulariser, D and the weight average, its regulariser.

        Args:
            schedule: of this moment.
            position: images seen by the run before this minibatch.
            minibatch: its number: says when to regularise.
            reals: uint8 [minibatch_size, C, H, W], of the finest level that takes part.
            labels: float32 [minibatch_size, label_size].
            held_out: as many images that are never trained on and their labels, whose scores tell
                overfitting; only --aug=adarv needs them.
        """
        options = self._options
        feeds = self._feeds(schedule, position, reals, labels)
        if self._is_growing:
            tflib.run(self._lod_op, feeds[0])
        self._run_rounds(self._G_op, feeds)
        if self._G_reg_op is not None and minibatch % options.G_reg_interval == 0:
            self._run_rounds(self._G_reg_op, feeds)
        if held_out is not None:  # Before D_op, for scores of the same discriminator.
            self._run_rounds(self._validation_op, self._feeds(schedule, position, *held_out))
        self._run_rounds(self._D_op, feeds)
        tflib.run(self._Gs_op, feeds[0])
        if self._D_reg_op is not None and minibatch % options.D_reg_interval == 0:
            self._run_rounds(self._D_reg_op, feeds)
        if self._spectral_op is not None:
            tflib.run(self._spectral_op)
        if self._augment_op is not None and self.augment.moves_at(minibatch):
            tflib.run(self._augment_op, feeds[0])

    def reset_optimizers(self) -> None:
        """Forgets the moments of both optimizers."""
        self._G_opt.reset_optimizer_state()
        self._D_opt.reset_optimizer_state()

    def _run_rounds(self, op: tf.Operation, feeds: list[dict]) -> None:
        for feed in feeds:
            tflib.run(op, feed)

    def _feeds(self, schedule, position, reals, labels) -> list[dict]:
        """What each accumulation round is fed with."""
        size, gpu = schedule.minibatch_size, schedule.minibatch_gpu
        round_size = gpu * self._num_replicas
        # A weight average of half-life G_smoothing_kimg (PGGAN, appendix A; StyleGAN, appendix C).
        half_life = self._options.G_smoothing_kimg * 1000
        if self._options.G_smoothing_rampup is not None:
            half_life = min(half_life, position * self._options.G_smoothing_rampup)
        values = {
            "minibatch_gpu": gpu,
            "minibatch_size": size,
            "rounds": size // round_size,
            "lod": schedule.lod,
            "G_lrate": schedule.G_lrate,
            "D_lrate": schedule.D_lrate,
            "Gs_beta": 0.5 ** (size / max(half_life, 1e-8)),
        }
        # Deviation: every round has reals of its own for the regulariser too; the official code
        # uses those of the last round for all.
        feeds = []
        for begin in range(0, size, round_size):
            feed = {self._scalars[name]: value for name, value in values.items()}
            feed[self._scalars["position"]] = position + begin
            feed[self._reals] = reals[begin : begin + round_size]
            feed[self._labels] = labels[begin : begin + round_size]
            feeds.append(feed)
        return feeds

    def _optimizers(self, name: str, args: dict[str, Any]) -> tuple[Optimizer, Optimizer | None]:
        """Optimizer of the loss, and one for the regulariser that shares its state."""
        options = self._options
        lazy = options.lazy_regularization
        interval = {"G": options.G_reg_interval, "D": options.D_reg_interval}[name]
        lrate = self._scalars[f"{name}_lrate"]
        args = lazy_regularization_args(lrate, interval if lazy else None, **args)
        args["minibatch_multiplier"] = self._scalars["rounds"] if self._accumulates() else None
        main = Optimizer(name=f"Train{name}", **args)
        return main, Optimizer(name=f"Reg{name}", share=main, **args) if lazy else None

    def _accumulates(self) -> bool:
        """Whether a step may need more than one round."""
        if self._is_growing:
            return True
        sched_args = self._options.sched_args
        start = training_schedule(0, self._resolution_log2, self._num_replicas, sched_args)
        return start.minibatch_size > start.minibatch_gpu * self._num_replicas

    def _build_replicas(self, G, D, training_set, devices, G_reg, D_reg) -> None:
        options = self._options
        for i, device in enumerate(devices):
            with tf.name_scope(f"Replica{i}"), tf.device(device):
                replica_seed = stream(self._seed, "replica", i)
                common = {
                    "G": G,
                    "D": self._wrap(D, replica_seed),
                    "training_set": training_set,
                    "minibatch_size": self._scalars["minibatch_gpu"],
                    "seed": replica_seed,
                }
                if i > 0:  # One replica moves the mean of w: several would race.
                    common["dlatent_avg_beta"] = None
                rows = self._rows(i)
                extra = {"pl_mean": self.pl_mean}
                values = _call_loss("G", options.G_loss_args, extra, **common)
                self._register(self._G_opt, G_reg, *values, options.G_reg_interval, G)
                reals = self._process_reals(self._reals[rows], replica_seed)
                extra = {"reals": reals, "labels": self._labels[rows]}
                values = _call_loss("D", options.D_loss_args, extra, **common)
                self._register(self._D_opt, D_reg, *values, options.D_reg_interval, D)

    def _build_validation(
        self, D: Network, devices: list[str], has_images: bool
    ) -> tf.Operation | None:
        """An op that collects D's scores of held-out images, fed in place of reals."""
        if not has_images:
            return None
        means = []
        for i, device in enumerate(devices):
            with tf.name_scope(f"Validation{i}"), tf.device(device):
                # Random numbers of their own, as those of further replicas.
                seed = stream(self._seed, "replica", len(devices) + i)
                rows = self._rows(i)
                images = self._process_reals(self._reals[rows], seed)
                wrapped = self._wrap(D, seed)
                scores = wrapped.get_output_for(images, self._labels[rows], is_training=True)[:, 0]
                means.append(tf.reduce_mean(autosummary("Loss/scores/validation", scores)))
        return self.augment.collect_validation(means)

    def _wrap(
        self, D: Network, seed: tf.Tensor
    ) -> Network | AugmentedDiscriminator | StrengthenedDiscriminator:
        """The discriminator as losses use it."""
        if self._has_strength:
            return StrengthenedDiscriminator(D, self.augment.strength, seed)
        return self.augment.wrap(D, seed)

    def _rows(self, replica: int) -> slice:
        """Which images of a round are a replica's."""
        count = self._scalars["minibatch_gpu"]
        return slice(replica * count, (replica + 1) * count)

    def _register(self, main, lazy, loss_value, penalty, interval, network) -> None:
        if penalty is not None and lazy is not None:
            # Less often, therefore as much stronger.
            lazy.register_gradients(penalty * interval, network.trainables)
        elif penalty is not None:
            loss_value = tf.reduce_mean(loss_value) + tf.reduce_mean(penalty)
        main.register_gradients(loss_value, network.trainables)

    def _process_reals(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """uint8 images of a level as the discriminator sees them: float32, full resolution."""
        images = tflib.convert_images_from_uint8(images)
        if self._options.mirror_augment:
            draw = uniform([tf.shape(images)[0], 1, 1, 1], stream(seed, "mirror"))
            mask = tf.broadcast_to(draw < 0.5, tf.shape(images))
            images = tf.where(mask, images, tf.reverse(images, [3]))
        if self._is_growing:
            images = fade_and_upscale(images, self._scalars["lod"])
        images.set_shape([None, *self._shape])
        return images


def fade_and_upscale(images: tf.Tensor, lod: tf.Tensor) -> tf.Tensor:
    """Images of a level as progressive growing shows them to the discriminator.

    Blends them with what the next coarser level holds, by the fraction of `lod` (PGGAN, figure 2),
    and repeats pixels up to full resolution.

    Args:
        images: [N, C, H, W] of the level floor(lod).
        lod: scalar level of detail.
    """
    shape = tf.shape(images)
    n, c, h, w = (shape[i] for i in range(4))
    level = tf.floor(lod)

    def blended():
        boxes = tf.reshape(images, [n, c, h // 2, 2, w // 2, 2])
        coarse = tf.reduce_mean(boxes, axis=[3, 5], keepdims=True)
        coarse = tf.reshape(tf.tile(coarse, [1, 1, 1, 2, 1, 2]), shape)
        return tflib.lerp(images, coarse, lod - level)

    # The coarsest level is never blended, and may have sides that are odd.
    images = tf.cond(lod > level, blended, lambda: images)
    factor = tf.cast(tf.round(2.0**level), tf.int32)
    images = tf.tile(images[:, :, :, tf.newaxis, :, tf.newaxis], [1, 1, 1, factor, 1, factor])
    return tf.reshape(images, [n, c, h * factor, w * factor])


def _apply(optimizer: Optimizer | None) -> tf.Operation | None:
    has_gradients = optimizer is not None and optimizer.has_gradients
    return optimizer.apply_updates() if has_gradients else None


def _find_loss(network: str, args: dict[str, Any]) -> Callable:
    """The loss that options name; `network` is "G" or "D", with which names of functions begin."""
    known = {name: f for name, f in LOSSES.items() if f.__name__.startswith(f"{network}_")}
    name = args.get("func_name")
    if name not in known:
        raise UserError(f"no loss of {network} {name!r}: use one of {', '.join(known)}")
    return known[name]


def _call_loss(network: str, args: dict[str, Any], extra: dict[str, Any], **kwargs: Any):
    """Calls the loss that `args` names with those of the extra arguments that it takes."""
    function = _find_loss(network, args)
    args = {key: value for key, value in args.items() if key != "func_name"}
    parameters = inspect.signature(function).parameters
    unknown = sorted(set(args) - set(parameters))
    if unknown:
        raise UserError(f"{function.__name__}() has no keyword argument {', '.join(unknown)}")
    static_kwargs.check([function], args, f"{function.__name__}()")
    offered = {key: value for key, value in extra.items() if key in parameters}
    return function(**kwargs, **offered, **args)
