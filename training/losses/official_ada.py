"""The losses of the ADA repository: one call gives those of both networks.

Each loss returns (G_loss, D_loss, G_reg, D_reg): [N] each but for path lengths, which are of fewer
fakes; None for no regularization. They are those of `logistic`, `path_length`, `wasserstein`,
`consistency` and `rotations`, of fakes with labels that the caller gives.

# Deviation: the losses of G and D are of fakes of their own, as in a run; the official code has one
# set of fakes for both. A keyword that is of none of the three losses is an error, and not ignored.

`G` and `D` are networks. `aug` is what D sees images through, a `training.augment.AdaptiveAugment`
or something with its methods `apply`, `get_strength_var` and `report_stat`; None for nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import EasyDict, UserError, keywords
from dnnlib.keywords import keyword
from dnnlib.tflib import Network
from dnnlib.tflib.autosummary import autosummary
from dnnlib.tflib.static_kwargs import reject_unknown
from training.augmentation.pipeline import augment
from training.augmentation.spec import AugmentSpec
from training.losses import consistency, logistic, path_length, rotations, wasserstein
from training.losses.context import LossContext, LossOptions, LossResult
from training.losses.fakes import score_both, score_fakes
from training.random_streams import fresh_seed

Losses = tuple[tf.Tensor, tf.Tensor, tf.Tensor | None, tf.Tensor | None]


@dataclass(frozen=True)
class AdaArguments:
    """What every loss of the ADA repository gets."""

    G: Network = keyword("the generator")
    D: Network = keyword("the discriminator")
    aug: Any = keyword("what D sees images through, see the module; None for nothing")
    fake_labels: tf.Tensor = keyword("[N, label_size], of the fakes")
    real_images: tf.Tensor = keyword("[N, C, H, W] in [-1, 1]")
    real_labels: tf.Tensor = keyword("[N, label_size]")
    seed: tf.Tensor | None = keyword(
        "[2] int32, fixes all random numbers; None: others at every run",
        default=None,
        kw_only=True,
    )

    def context(self) -> LossContext:
        count = self.fake_labels.shape[0].value
        return LossContext(
            G=self.G,
            D=_SeenThrough(self.D, self.aug),
            training_set=_GivenLabels(self.fake_labels),
            minibatch_size=tf.shape(self.fake_labels)[0] if count is None else count,
            seed=fresh_seed() if self.seed is None else self.seed,
            reals=self.real_images,
            labels=self.real_labels,
        )


@dataclass(frozen=True)
class ComparisonOptions:
    """Weights and parameters of `cmethods`."""

    r1_gamma: float = keyword("weight of R1 (Mescheder et al. 2018, equation 9)", default=10)
    r2_gamma: float = keyword("weight of R2", default=0)
    pl_minibatch_shrink: int = keyword("path lengths are of so many times fewer fakes", default=2)
    pl_decay: float = keyword(
        "of the running mean of path lengths, which moves whenever G_reg is evaluated", default=0.01
    )
    pl_weight: float = keyword("of the penalty of path lengths; 0 for none", default=2)
    bcr_real_weight: float = keyword("see `consistency.D_bcr`", default=0)
    bcr_fake_weight: float = keyword("see `consistency.D_bcr`", default=0)
    bcr_augment: Mapping[str, Any] | None = keyword(
        "keywords of `training.augment.augment_pipeline` that transform the images of "
        "consistency; None for shifts by whole pixels",
        default=None,
    )
    zcr_gen_weight: float = keyword("see `consistency.G_zcr`", default=0)
    zcr_dis_weight: float = keyword("see `consistency.D_zcr`", default=0)
    zcr_noise_std: float = keyword("deviation of z' from z in both", default=0.1)
    auxrot_alpha: float = keyword("see `rotations`; D has a `score_max` of 5 then", default=0)
    auxrot_beta: float = keyword("see `rotations`; D has a `score_max` of 5 then", default=0)


def _logistic(context: LossContext, options: ComparisonOptions) -> tuple[LossResult, LossResult]:
    return _logistic_of_G(context, options), _logistic_of_D(context, options)


def _logistic_of_G(context: LossContext, options: ComparisonOptions) -> LossResult:
    lengths = path_length.PathLengthOptions(
        options.pl_minibatch_shrink, options.pl_decay, options.pl_weight
    )
    fakes, scores = score_fakes(context, lengths)
    loss = logistic.logistic_ns(scores)
    if options.auxrot_alpha:
        term = rotations.rotation_loss(context.D, fakes.images, fakes.labels)
        loss += autosummary("Loss/G/auxrot", term) * options.auxrot_alpha
    if options.zcr_gen_weight:
        zcr = consistency.GZcrOptions(
            zcr_gen_weight=options.zcr_gen_weight, zcr_noise_std=options.zcr_noise_std
        )
        loss -= consistency.image_distances(context, fakes, zcr)
    return LossResult(loss, path_length.weighted_path_lengths(context, lengths))


def _logistic_of_D(context: LossContext, options: ComparisonOptions) -> LossResult:
    scores = score_both(context, LossOptions())
    loss = logistic.logistic(scores)
    if options.auxrot_beta:
        term = rotations.rotation_loss(context.D, context.reals, context.labels)
        loss += autosummary("Loss/D/auxrot", term) * options.auxrot_beta
    if options.bcr_real_weight or options.bcr_fake_weight:
        bcr = consistency.BcrOptions(
            bcr_real_weight=options.bcr_real_weight, bcr_fake_weight=options.bcr_fake_weight
        )
        transform = None if options.bcr_augment is None else _transform(options.bcr_augment)
        loss += consistency.balanced_consistency(context, scores, bcr, transform)
    if options.zcr_dis_weight:
        zcr = consistency.DZcrOptions(
            zcr_dis_weight=options.zcr_dis_weight, zcr_noise_std=options.zcr_noise_std
        )
        loss += consistency.score_distances(context, scores, zcr)
    penalties = []
    if options.r1_gamma:
        gamma = logistic.GradientPenaltyOptions(options.r1_gamma)
        penalties.append(logistic.r1_regularizer(context, scores, gamma))
    if options.r2_gamma:
        gamma = logistic.GradientPenaltyOptions(options.r2_gamma)
        penalties.append(logistic.r2_regularizer(scores, gamma))
    return scores.result(loss, tf.add_n(penalties) if penalties else None)


def _wasserstein(
    context: LossContext, options: wasserstein.WganGpOptions
) -> tuple[LossResult, LossResult]:
    of_G = wasserstein.G_wgan(context, LossOptions())
    return of_G, wasserstein.D_wgan_gp(context, options)


_KNOWN = {f.name for spec in (ComparisonOptions, wasserstein.WganGpOptions) for f in fields(spec)}
_OTHERS = keywords.Argument(
    inspect.Parameter("_kwargs", inspect.Parameter.VAR_KEYWORD, annotation=Any),
    "those of the other two losses, without effect: training has one set of arguments for all",
)


def _official(
    name: str, about: str, loss: Callable, options: type, names: str
) -> Callable[..., Losses]:
    """A loss as user code calls it, with some options by their names."""
    of_all = [field.name for field in fields(AdaArguments)]
    shown = [
        *keywords.arguments(AdaArguments, of_all[:-1]),
        *keywords.arguments(options, names.split()),
        *keywords.arguments(AdaArguments, of_all[-1:]),
        _OTHERS,
    ]

    def call(given: dict[str, Any]) -> Losses:
        reject_unknown(f"{name}()", given.pop("_kwargs", {}), _KNOWN)
        args = AdaArguments(**{n: given.pop(n) for n in of_all if n in given})
        return _told(args.aug, *loss(args.context(), options(**given)))

    doc = f"{about}\n\nArgs:\n    {{fields}}\n\nReturns:\n    (G_loss, D_loss, G_reg, D_reg)."
    return keywords.face(__name__, name, doc, shown, call)


_PATH_LENGTHS = "pl_minibatch_shrink pl_decay pl_weight"

stylegan2 = _official(
    "stylegan2",
    "Non-saturating logistic loss with R1 and path length regularization (StyleGAN2).",
    _logistic,
    ComparisonOptions,
    f"r1_gamma {_PATH_LENGTHS}",
)
cmethods = _official(
    "cmethods",
    "`stylegan2` with the terms of comparison methods (ADA, appendix on comparison methods).",
    _logistic,
    ComparisonOptions,
    f"r1_gamma r2_gamma {_PATH_LENGTHS} bcr_real_weight bcr_fake_weight bcr_augment "
    "zcr_gen_weight zcr_dis_weight zcr_noise_std auxrot_alpha auxrot_beta",
)
wgangp = _official(
    "wgangp",
    "Wasserstein loss with gradient penalty, which is D_reg (Gulrajani et al. 2017).",
    _wasserstein,
    wasserstein.WganGpOptions,
    "wgan_epsilon wgan_lambda wgan_target",
)


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
