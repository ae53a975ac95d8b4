"""The losses of the ADA repository: one call gives those of both networks.

Each loss returns (G_loss, D_loss, G_reg, D_reg): [N] each but for path lengths, which are of fewer
fakes; None for no regularization. They are those of `logistic`, `path_length`, `wasserstein`,
`consistency` and `rotations`, of fakes with labels that the caller gives.

# Deviation: the losses of G and D are of fakes of their own, as in a run; the official code has one
# set of fakes for both. A keyword that is not known is an error, and not ignored.

`G` and `D` are networks. `aug` is what D sees images through, a `training.augment.AdaptiveAugment`
or something with its methods `apply`, `get_strength_var` and `report_stat`; None for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError
from dnnlib.tflib import Network
from dnnlib.tflib.autosummary import autosummary
from training.augmentation.pipeline import augment
from training.augmentation.spec import AugmentSpec
from training.losses import consistency, logistic, path_length, rotations, wasserstein
from training.losses.context import LossContext, LossOptions, LossResult
from training.losses.fakes import score_both, score_fakes
from training.random_streams import fresh_seed

Losses = tuple[tf.Tensor, tf.Tensor, tf.Tensor | None, tf.Tensor | None]


def stylegan2(
    G: Network,
    D: Network,
    aug: Any,
    fake_labels: tf.Tensor,
    real_images: tf.Tensor,
    real_labels: tf.Tensor,
    r1_gamma: float = 10,
    pl_minibatch_shrink: int = 2,
    pl_decay: float = 0.01,
    pl_weight: float = 2,
    *,
    seed: tf.Tensor | None = None,
) -> Losses:
    """Non-saturating logistic loss with R1 and path length regularization (StyleGAN2).

    Args:
        G, D, aug: see above.
        fake_labels: [N, label_size], of the fakes.
        real_images: [N, C, H, W] in [-1, 1].
        real_labels: [N, label_size].
        r1_gamma: weight of R1 (Mescheder et al. 2018, equation 9).
        pl_minibatch_shrink: path lengths are of so many times fewer fakes.
        pl_decay: of the running mean of path lengths, which moves whenever G_reg is evaluated.
        pl_weight: of the penalty of path lengths; 0 for none.
        seed: [2] int32, fixes all random numbers; None: others at every run.
    """
    context = _context(G, D, aug, fake_labels, real_images, real_labels, seed)
    lengths = path_length.PathLengthOptions(pl_minibatch_shrink, pl_decay, pl_weight)
    _, scores = score_fakes(context, lengths)
    of_G = LossResult(
        logistic.logistic_ns(scores), path_length.weighted_path_lengths(context, lengths)
    )
    of_D = logistic.D_logistic_r1(context, logistic.GradientPenaltyOptions(r1_gamma))
    return _told(aug, of_G, of_D)


def cmethods(
    G: Network,
    D: Network,
    aug: Any,
    fake_labels: tf.Tensor,
    real_images: tf.Tensor,
    real_labels: tf.Tensor,
    r1_gamma: float = 10,
    r2_gamma: float = 0,
    pl_minibatch_shrink: int = 2,
    pl_decay: float = 0.01,
    pl_weight: float = 2,
    bcr_real_weight: float = 0,
    bcr_fake_weight: float = 0,
    bcr_augment: Mapping[str, Any] | None = None,
    zcr_gen_weight: float = 0,
    zcr_dis_weight: float = 0,
    zcr_noise_std: float = 0.1,
    auxrot_alpha: float = 0,
    auxrot_beta: float = 0,
    *,
    seed: tf.Tensor | None = None,
) -> Losses:
    """`stylegan2` with the terms of comparison methods (ADA, appendix on comparison methods).

    Args:
        G, D, aug, fake_labels, real_images, real_labels, seed: as in `stylegan2`.
        r1_gamma, r2_gamma: weights of R1 and R2; 0 for none.
        pl_minibatch_shrink, pl_decay, pl_weight: as in `stylegan2`.
        bcr_real_weight, bcr_fake_weight: see `consistency.D_bcr`.
        bcr_augment: keywords of `training.augment.augment_pipeline` that transform the images
            there; None for shifts by whole pixels.
        zcr_gen_weight, zcr_dis_weight, zcr_noise_std: see `consistency.G_zcr` and `D_zcr`.
        auxrot_alpha, auxrot_beta: see `rotations`; D has a `score_max` of 5 then.

    Raises:
        UserError: `bcr_augment` is something else.
    """
    context = _context(G, D, aug, fake_labels, real_images, real_labels, seed)
    lengths = path_length.PathLengthOptions(pl_minibatch_shrink, pl_decay, pl_weight)
    zcr = {"zcr_noise_std": zcr_noise_std}

    fakes, fake_scores = score_fakes(context, lengths)
    G_loss = logistic.logistic_ns(fake_scores)
    if auxrot_alpha:
        term = rotations.rotation_loss(context.D, fakes.images, fakes.labels)
        G_loss += autosummary("Loss/G/auxrot", term) * auxrot_alpha
    if zcr_gen_weight:
        options = consistency.GZcrOptions(zcr_gen_weight=zcr_gen_weight, **zcr)
        G_loss -= consistency.image_distances(context, fakes, options)
    of_G = LossResult(G_loss, path_length.weighted_path_lengths(context, lengths))

    scores = score_both(context, LossOptions())
    D_loss = logistic.logistic(scores)
    if auxrot_beta:
        term = rotations.rotation_loss(context.D, context.reals, context.labels)
        D_loss += autosummary("Loss/D/auxrot", term) * auxrot_beta
    if bcr_real_weight or bcr_fake_weight:
        options = consistency.BcrOptions(
            bcr_real_weight=bcr_real_weight, bcr_fake_weight=bcr_fake_weight
        )
        transform = None if bcr_augment is None else _transform(bcr_augment)
        D_loss += consistency.balanced_consistency(context, scores, options, transform)
    if zcr_dis_weight:
        options = consistency.DZcrOptions(zcr_dis_weight=zcr_dis_weight, **zcr)
        D_loss += consistency.score_distances(context, scores, options)
    penalties = []
    if r1_gamma:
        options = logistic.GradientPenaltyOptions(r1_gamma)
        penalties.append(logistic.r1_regularizer(context, scores, options))
    if r2_gamma:
        options = logistic.GradientPenaltyOptions(r2_gamma)
        penalties.append(logistic.r2_regularizer(scores, options))
    of_D = scores.result(D_loss, tf.add_n(penalties) if penalties else None)
    return _told(aug, of_G, of_D)


def wgangp(
    G: Network,
    D: Network,
    aug: Any,
    fake_labels: tf.Tensor,
    real_images: tf.Tensor,
    real_labels: tf.Tensor,
    wgan_epsilon: float = 0.001,
    wgan_lambda: float = 10,
    wgan_target: float = 1,
    *,
    seed: tf.Tensor | None = None,
) -> Losses:
    """Wasserstein loss with gradient penalty, which is D_reg (Gulrajani et al. 2017).

    Args:
        G, D, aug, fake_labels, real_images, real_labels, seed: as in `stylegan2`.
        wgan_epsilon: weight of the drift term (PGGAN, appendix A.1).
        wgan_lambda: weight of the gradient penalty.
        wgan_target: norm of the gradient that costs nothing.
    """
    context = _context(G, D, aug, fake_labels, real_images, real_labels, seed)
    of_G = wasserstein.G_wgan(context, LossOptions())
    options = wasserstein.WganGpOptions(wgan_epsilon, wgan_lambda, wgan_target)
    return _told(aug, of_G, wasserstein.D_wgan_gp(context, options))


def eval_G(
    G: Network, latents: tf.Tensor, labels: tf.Tensor, return_dlatents: bool = False
) -> EasyDict:
    """What a generator makes in training.

    Args:
        G: the generator.
        latents: [N, latent_size].
        labels: [N, label_size].
        return_dlatents: give w too.

    Returns:
        `images` [N, C, H, W], and `dlatents` [N, num_layers, dlatent_size] or None.
    """
    kwargs = {"return_dlatents": True} if return_dlatents else {}
    outputs = G.get_output_for(latents, labels, is_training=True, return_as_list=True, **kwargs)
    return EasyDict(images=outputs[0], dlatents=outputs[1] if return_dlatents else None)


def eval_D(
    D: Network,
    aug: Any,
    images: tf.Tensor,
    labels: tf.Tensor,
    report: str | None = None,
    augment_inputs: bool = True,
    return_aux: int = 0,
) -> EasyDict:
    """What a discriminator says of images in training.

    Args:
        D, aug: see above.
        images: [N, C, H, W] in [-1, 1].
        labels: [N, label_size].
        report: report scores and their signs as those of "real" or "fake"; None: do not.
        augment_inputs: False: D sees the images as they are.
        return_aux: further scores to give, of a D with `score_max` of at least 1 + `return_aux`.

    Returns:
        `scores` [N, 1], `aux` [N, return_aux] or None, and what D saw: `images_aug`, `labels_aug`.
    """
    kwargs = {}
    if aug is not None:
        images, labels = aug.apply(images, labels, enable=augment_inputs)
        if "augment_strength" in D.tensor_keywords:
            kwargs["augment_strength"] = aug.get_strength_var()
    if return_aux:
        kwargs["score_size"] = 1 + return_aux
    found = D.get_output_for(images, labels, is_training=True, **kwargs)
    scores, aux = (found[:, :1], found[:, 1:]) if return_aux else (found, None)
    if report is not None:
        signs = report_stat(aug, f"Loss/signs/{report}", tf.sign(scores))
        with tf.control_dependencies([signs]):
            scores = report_stat(aug, f"Loss/scores/{report}", scores)
    return EasyDict(images_aug=images, labels_aug=labels, scores=scores, aux=aux)


def report_stat(aug: Any, name: str, value: tf.Tensor) -> tf.Tensor:
    """`value`, which adds to the statistic `name` of a run and of `aug` when it is evaluated."""
    value = autosummary(name, value)
    return value if aug is None else aug.report_stat(name, value)


def report_loss(
    aug: Any,
    G_loss: tf.Tensor,
    D_loss: tf.Tensor,
    G_reg: tf.Tensor | None = None,
    D_reg: tf.Tensor | None = None,
) -> Losses:
    """The losses, which add to `Loss/G/loss`, `D/loss`, `G/reg`, `D/reg` when evaluated."""
    named = (("G/loss", G_loss), ("D/loss", D_loss), ("G/reg", G_reg), ("D/reg", D_reg))
    return tuple(
        None if value is None else report_stat(aug, f"Loss/{name}", value) for name, value in named
    )


@dataclass(frozen=True)
class _GivenLabels:
    """Stands for a dataset whose random labels are given."""

    labels: tf.Tensor

    def get_random_labels_tf(self, count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return self.labels[:count]


@dataclass(frozen=True)
class _SeenThrough:
    """A discriminator behind `aug`, as losses use it."""

    D: Network
    aug: Any

    def get_output_for(
        self, images: tf.Tensor, labels: tf.Tensor, is_training: bool = True, score_size: int = 1
    ) -> tf.Tensor:
        found = eval_D(self.D, self.aug, images, labels, return_aux=score_size - 1)
        return found.scores if found.aux is None else tf.concat([found.scores, found.aux], axis=1)


def _context(
    G: Network,
    D: Network,
    aug: Any,
    fake_labels: tf.Tensor,
    real_images: tf.Tensor,
    real_labels: tf.Tensor,
    seed: tf.Tensor | None,
) -> LossContext:
    count = fake_labels.shape[0].value
    return LossContext(
        G=G,
        D=_SeenThrough(D, aug),
        training_set=_GivenLabels(fake_labels),
        minibatch_size=tf.shape(fake_labels)[0] if count is None else count,
        seed=fresh_seed() if seed is None else seed,
        reals=real_images,
        labels=real_labels,
    )


def _told(aug: Any, of_G: LossResult, of_D: LossResult) -> Losses:
    """The losses; evaluating that of D tells `aug` what shows overfitting."""
    D_loss = of_D.loss
    if aug is not None:
        real, fake = tf.unstack(of_D.mean_scores)
        stats = {"signs/real": of_D.real_sign, "scores/real": real, "scores/fake": fake}
        told = [aug.report_stat(f"Loss/{name}", value) for name, value in stats.items()]
        with tf.control_dependencies(told):
            D_loss = tf.identity(D_loss)
    return of_G.loss, D_loss, of_G.regularizer, of_D.regularizer


def _transform(bcr_augment: Mapping[str, Any]):
    """A function of images and a seed."""
    given = dict(bcr_augment)
    name = given.pop("func_name", "training.augment.augment_pipeline")
    if name != "training.augment.augment_pipeline":
        raise UserError(
            f"bcr_augment: there is no {name!r}; give keywords of training.augment.augment_pipeline"
        )
    spec = AugmentSpec(**given)
    return lambda images, seed: augment(images, 1, spec, seed)
