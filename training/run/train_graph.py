"""The graph of a training step: losses on every replica, optimizers, weight average."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network, Optimizer
from dnnlib.tflib.autosummary import autosummary
from dnnlib.tflib.optimizer import lazy_regularization_args
from dnnlib.tflib.workers import ALONE, Alone
from training.architecture import spectral_norm
from training.augmentation.adaptive import AdaptiveAugment
from training.config.comparison_methods import find_method
from training.config.options import TrainingOptions
from training.config.schedule import Schedule, training_schedule
from training.dataset import TFRecordDataset
from training.loss import PathLengthMean, find_loss
from training.losses.context import LossContext, LossResult
from training.random_streams import stream
from training.run.data import fade_and_upscale, mirror_half


class TrainGraph:
    """The ops of a training step, and the order in which they run.

    Args:
        G, D, Gs: generator, discriminator, weight average of the generator.
        training_set: gives labels for fakes.
        options: of the run.
        devices: one for each replica of this worker.
        workers: that train together; each has a part of the replicas.

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
        workers: Alone = ALONE,
    ):
        self._options, self._workers = options, workers
        self._num_replicas = len(devices) * workers.count
        self._first_replica = len(devices) * workers.index
        self._is_growing = not options.sched_args.is_constant
        self.pl_mean = PathLengthMean(workers)
        augments_images = not find_method(options.cmethod).has_strength
        self.augment = AdaptiveAugment(options.augment_args, augments_images, workers)
        self._inputs = _Inputs(training_set, options.seed)
        rounds = self._inputs.rounds if self._accumulates(training_set.resolution_log2) else None
        with tf.name_scope("Optimizers"):
            self._G = _Trainee("G", G, options, self._inputs.G_lrate, rounds, workers)
            self._D = _Trainee("D", D, options, self._inputs.D_lrate, rounds, workers)
        results = self._build_replicas(training_set, devices)
        self._build_updates(results)
        self._validation_op = None
        if training_set.num_held_out > 0:
            self._validation_op = self._build_validation(devices)
        self._spectral_op = spectral_norm.build_update(D)
        self._augment_op = self.augment.build_move(self._inputs.minibatch_size)
        self._Gs_op = Gs.setup_as_moving_average_of(G, beta=self._inputs.Gs_beta)
        with tf.name_scope("AssignLod"):
            nets = [net for net in (G, D) if "lod" in net.vars]
            self._lod_op = tf.group(*(n.vars["lod"].assign(self._inputs.lod) for n in nets))

    def step(
        self,
        schedule: Schedule,
        position: int,
        minibatch: int,
        reals: np.ndarray,
        labels: np.ndarray,
        held_out: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Trains on one minibatch: G, its regularizer, D and the weight average, its regularizer.

        Args:
            schedule: of this moment.
            position: images seen by the run before this minibatch.
            minibatch: its number: says when to regularize.
            reals: uint8 [N, C, H, W], of the finest level that takes part: the minibatch, or this
                worker's rows of it.
            labels: float32 [N, label_size].
            held_out: as many images that are never trained on and their labels, whose scores tell
                overfitting; only --aug=adarv needs them.
        """
        options = self._options
        feeds = self._feeds(schedule, position, reals, labels)
        if self._is_growing:
            self._workers.run(self._lod_op, feeds[0])
        self._run_rounds(self._G_op, feeds)
        if self._G_reg_op is not None and minibatch % options.G_reg_interval == 0:
            self._run_rounds(self._G_reg_op, feeds)
        if held_out is not None:  # Before D_op, for scores of the same discriminator.
            self._run_rounds(self._validation_op, self._feeds(schedule, position, *held_out))
        self._run_rounds(self._D_op, feeds)
        self._workers.run(self._Gs_op, feeds[0])
        if self._D_reg_op is not None and minibatch % options.D_reg_interval == 0:
            self._run_rounds(self._D_reg_op, feeds)
        if self._spectral_op is not None:
            self._workers.run(self._spectral_op)
        if self._augment_op is not None and self.augment.moves_at(minibatch):
            self._workers.run(self._augment_op, feeds[0])

    def reset_optimizers(self) -> None:
        """Forgets the moments of both optimizers."""
        self._G.main.reset_optimizer_state()
        self._D.main.reset_optimizer_state()

    def _run_rounds(self, op: tf.Operation, feeds: list[dict[tf.Tensor, Any]]) -> None:
        for feed in feeds:
            self._workers.run(op, feed)

    def _feeds(self, schedule, position, reals, labels) -> list[dict[tf.Tensor, Any]]:
        """What each accumulation round is fed with."""
        size, gpu = schedule.minibatch_size, schedule.minibatch_gpu
        round_size = gpu * self._num_replicas
        # A weight average of half-life G_smoothing_kimg (PGGAN, appendix A; StyleGAN, appendix C).
        half_life = self._options.G_smoothing_kimg * 1000
        if self._options.G_smoothing_rampup is not None:
            half_life = min(half_life, position * self._options.G_smoothing_rampup)
        values = {
            self._inputs.minibatch_gpu: gpu,
            self._inputs.minibatch_size: size,
            self._inputs.rounds: size // round_size,
            self._inputs.lod: schedule.lod,
            self._inputs.G_lrate: schedule.G_lrate,
            self._inputs.D_lrate: schedule.D_lrate,
            self._inputs.Gs_beta: 0.5 ** (size / max(half_life, 1e-8)),
        }
        # Deviation: every round has its own reals for the regularizer too; the official code uses
        # those of the last round for all.
        feeds = []
        own_size = round_size // self._workers.count
        for number in range(size // round_size):
            rows = slice(number * own_size, (number + 1) * own_size)
            feed = {
                self._inputs.position: position + number * round_size,
                self._inputs.reals: reals[rows],
                self._inputs.labels: labels[rows],
            }
            feeds.append({**values, **feed})
        return feeds

    def _accumulates(self, resolution_log2: int) -> bool:
        """Whether a step may need more than one round."""
        if self._is_growing:
            return True
        sched_args = self._options.sched_args
        start = training_schedule(0, resolution_log2, self._num_replicas, sched_args)
        return start.minibatch_size > start.minibatch_gpu * self._num_replicas

    def _build_replicas(
        self, training_set: TFRecordDataset, devices: list[str]
    ) -> list[LossResult]:
        """Losses and gradients of both networks on each device; returns those of D."""
        results = []
        for i, device in enumerate(devices):
            with tf.name_scope(f"Replica{i}"), tf.device(device):
                number = self._first_replica + i
                seed = stream(self._inputs.seed, "replica", number)
                context = LossContext(
                    G=self._G.network,
                    D=self.augment.wrap(self._D.network, seed),
                    training_set=training_set,
                    minibatch_size=self._inputs.minibatch_gpu,
                    seed=seed,
                    pl_mean=self.pl_mean,
                    moves_w_mean=number == 0,  # Several replicas would race.
                )
                self._G.register(self._G.loss(context))
                reals, labels = self._reals(i, seed)
                context = dataclasses.replace(context, reals=reals, labels=labels)
                results.append(self._D.loss(context))
                self._D.register(results[-1])
        return results

    def _build_updates(self, results: Sequence[LossResult]) -> None:
        """Ops that move the weights of both networks, and what goes with each step.

        Args:
            results: of D's loss, of each replica.
        """
        self._G_op, self._G_reg_op = self._G.build_updates()
        store_pl_mean = self.pl_mean.apply()
        if self._G_reg_op is not None:
            self._G_reg_op = tf.group(self._G_reg_op, store_pl_mean)
        else:
            self._G_op = tf.group(self._G_op, store_pl_mean)
        self._D_op, self._D_reg_op = self._D.build_updates()
        signs, scores = zip(*((r.real_sign, r.mean_scores) for r in results), strict=True)
        self._D_op = tf.group(self._D_op, self.augment.collect(signs, scores))

    def _build_validation(self, devices: list[str]) -> tf.Operation:
        """An op that collects D's scores of held-out images, fed in place of reals."""
        means = []
        for i, device in enumerate(devices):
            with tf.name_scope(f"Validation{i}"), tf.device(device):
                # Its own random numbers, like those of further replicas.
                number = self._num_replicas + self._first_replica + i
                seed = stream(self._inputs.seed, "replica", number)
                images, labels = self._reals(i, seed)
                D = self.augment.wrap(self._D.network, seed)
                scores = D.get_output_for(images, labels, is_training=True)[:, 0]
                means.append(tf.reduce_mean(autosummary("Loss/scores/validation", scores)))
        return self.augment.collect_validation(means)

    def _reals(self, replica: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A replica's reals as the discriminator sees them, float32 of full resolution; labels."""
        count = self._inputs.minibatch_gpu
        rows = slice(replica * count, (replica + 1) * count)
        images = tflib.convert_images_from_uint8(self._inputs.reals[rows])
        if self._options.mirror_augment:
            images = mirror_half(images, stream(seed, "mirror"))
        if self._is_growing:
            images = fade_and_upscale(images, self._inputs.lod)
        images.set_shape([None, *self._inputs.shape])
        return images, self._inputs.labels[rows]


class _Inputs:
    """What a step is fed with, as tensors.

    Attributes:
        shape: [C, H, W] of images at full resolution.
        reals: uint8 [N, C, H, W], of the finest level that takes part.
        labels: float32 [N, label_size].
        position: images seen by the run so far.
        seed: [2] int32, of the run and the position.
        minibatch_gpu, minibatch_size: images of a replica in a round; images a step.
        rounds: in a step.
        lod, G_lrate, D_lrate: as in `Schedule`.
        Gs_beta: decay of the weight average.
    """

    def __init__(self, training_set: TFRecordDataset, seed: int):
        self.shape = training_set.shape
        self.reals = tf.placeholder(tf.uint8, [None, self.shape[0], None, None], "reals")
        self.labels = tf.placeholder(tf.float32, [None, training_set.label_size], "labels")
        self.position = tf.placeholder(tf.int32, [], "position")
        self.minibatch_gpu = tf.placeholder(tf.int32, [], "minibatch_gpu")
        self.minibatch_size = tf.placeholder(tf.int32, [], "minibatch_size")
        self.rounds = tf.placeholder(tf.int32, [], "rounds")
        self.lod = tf.placeholder(tf.float32, [], "lod")
        self.G_lrate = tf.placeholder(tf.float32, [], "G_lrate")
        self.D_lrate = tf.placeholder(tf.float32, [], "D_lrate")
        self.Gs_beta = tf.placeholder(tf.float32, [], "Gs_beta")
        self.seed = tf.stack([tf.constant(seed, tf.int32), self.position])


class _Trainee:
    """A network with its loss and optimizers.

    Args:
        name: "G" or "D".
        network: of this name.
        options: of the run.
        lrate: learning rate, a scalar tensor.
        rounds: of accumulation in a step, a scalar tensor; None for one.
        workers: that train together.

    Attributes:
        network: as given.
        loss: `find_loss` of the options.
        main: optimizer of the loss.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        options: TrainingOptions,
        lrate: tf.Tensor,
        rounds: tf.Tensor | None,
        workers: Alone,
    ):
        loss_args, opt_args, self._interval = {
            "G": (options.G_loss_args, options.G_opt_args, options.G_reg_interval),
            "D": (options.D_loss_args, options.D_opt_args, options.D_reg_interval),
        }[name]
        self.network, self.loss = network, find_loss(name, loss_args)
        lazy = options.lazy_regularization
        args = lazy_regularization_args(lrate, self._interval if lazy else None, **opt_args)
        args |= {"minibatch_multiplier": rounds, "workers": workers}
        self.main = Optimizer(name=f"Train{name}", **args)
        # Of the regularizer; shares the state of the other.
        self._lazy = Optimizer(name=f"Reg{name}", share=self.main, **args) if lazy else None

    def register(self, result: LossResult) -> None:
        """Adds the gradients of a replica's loss."""
        loss, regularizer = result.loss, result.regularizer
        if regularizer is not None and self._lazy is not None:
            # Applied less often, and therefore stronger by as much.
            self._lazy.register_gradients(regularizer * self._interval, self.network.trainables)
        elif regularizer is not None:
            loss = tf.reduce_mean(loss) + tf.reduce_mean(regularizer)
        self.main.register_gradients(loss, self.network.trainables)

    def build_updates(self) -> tuple[tf.Operation, tf.Operation | None]:
        """Ops of a step on the loss and of one on the regularizer, if it has its own steps."""
        update = self.main.apply_updates()
        if self._lazy is None or not self._lazy.has_gradients:
            return update, None
        return update, self._lazy.apply_updates()
