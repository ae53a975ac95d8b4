#!/usr/bin/env python3
"""Projects images into the latent space of a generator: the official class and ADA's command."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dnnlib import EasyDict, UserError, cli, tflib
from dnnlib.output import tqdm
from dnnlib.tflib import Network
from metrics import projection_distance
from metrics.feature_networks import FeatureSources
from training.latents.distances import Distance
from training.latents.noise_maps import noise_variables
from training.latents.options import ProjectionOptions
from training.latents.projection import Projection
from training.pictures import projection_files, projections
from training.snapshots import pretrained

_EXAMPLE = """example:
  python projector.py --outdir=out --target=photo.png --network=network-final.pkl

run_projector.py has more options, and the commands of StyleGAN2.
"""
_DEFAULTS = ProjectionOptions()


class Projector:
    """The projector of the StyleGAN2 and ADA repositories, over `training.latents`.

    Attributes of the names of `ProjectionOptions` say how to project, and can be set at any time:
    `num_steps`, `dlatent_avg_samples`, `initial_learning_rate`, `initial_noise_factor`,
    `lr_rampdown_length`, `lr_rampup_length`, `noise_ramp_length`, `regularize_noise_weight`, and
    `seed`; those of `space`, `wplus_noise_weight`, `wplus_penalty` and `noise_mode` before
    `set_network`.

    Args:
        vgg16_pkl: LPIPS: an `.npz` or `.pth` of `metrics.feature_networks.lpips`; None: what is in
            the cache. A `.pkl` brings code, which is not run.
        num_steps, initial_learning_rate, initial_noise_factor: the attributes.
        verbose: show a progress bar in `run`.

    Attributes:
        verbose: as given.
        clone_net: False: every step leaves its noise maps in the variables of the network.
        distance: see `training.latents.distances`; None: LPIPS, or else one of pixels.
    """

    def __init__(
        self,
        vgg16_pkl: str | None = None,
        num_steps: int = _DEFAULTS.num_steps,
        initial_learning_rate: float = _DEFAULTS.initial_learning_rate,
        initial_noise_factor: float = _DEFAULTS.initial_noise_factor,
        verbose: bool = False,
    ):
        for field in dataclasses.fields(_DEFAULTS):
            setattr(self, field.name, getattr(_DEFAULTS, field.name))
        self.num_steps = num_steps
        self.initial_learning_rate = initial_learning_rate
        self.initial_noise_factor = initial_noise_factor
        self.vgg16_pkl, self.verbose = vgg16_pkl, verbose
        self.clone_net = True
        self.distance: Distance | None = None
        self._Gs: Network | None = None
        self._projection: Projection | None = None

    def set_network(
        self, Gs: Network, minibatch_size: int | str = 1, dtype: str = "float16"
    ) -> None:
        """Chooses the generator.

        Args:
            Gs: a generator; it is not changed, unless `clone_net` is False.
            minibatch_size: most targets at once. A text is `dtype`, the second parameter in the ADA
                repository.
            dtype: of ADA; here all is computed in float32.
        """
        count = 1 if isinstance(minibatch_size, str) else minibatch_size
        distance = self.distance
        if distance is None:
            is_data = (self.vgg16_pkl or "").endswith((".npz", ".pth"))
            sources = FeatureSources({"lpips": self.vgg16_pkl} if is_data else {})
            distance = projection_distance.choose("auto", Gs, None, sources)
        self._Gs = Gs
        self._projection = Projection(Gs, distance, count, self._options())

    def run(self, target_images: np.ndarray | Sequence[np.ndarray]) -> EasyDict:
        """Projects images; returns `dlatents`, `noises` and `images`."""
        self.start(target_images)
        with tqdm(total=self.num_steps, desc="Projecting", disable=not self.verbose) as progress:
            while self.cur_step < self.num_steps:
                self.step()
                progress.update()
        return EasyDict(dlatents=self.dlatents, noises=self.noises, images=self.images_float)

    def start(self, target_images: np.ndarray | Sequence[np.ndarray]) -> None:
        """Begins with other targets, [N, C, H, W]: floats of -1 to 1, or uint8."""
        self._current().start(target_images)

    def step(self) -> tuple[np.ndarray, float] | None:
        """Takes a step, unless all were taken; returns distances [N] and loss before it."""
        projection = self._current()
        if projection.cur_step >= self.num_steps:
            return None
        values = projection.step()
        if not self.clone_net:
            self._write_noise(projection.noises)
        return values

    @property
    def cur_step(self) -> int:
        """Steps that were taken since `start`."""
        return self._current().cur_step

    @property
    def dlatents(self) -> np.ndarray:
        """float32 [N, num_layers, dlatent_size]."""
        return self._current().dlatents

    @property
    def noises(self) -> list[np.ndarray]:
        """Noise maps, float32 [N, 1, H, W] each."""
        return self._current().noises

    @property
    def images_float(self) -> np.ndarray:
        """float32 [N, C, H, W], about -1 to 1."""
        return self._current().evaluate()[0]

    @property
    def images_uint8(self) -> np.ndarray:
        """uint8 [N, H, W, C]."""
        return projection_files.to_uint8(self.images_float).transpose(0, 2, 3, 1)

    def get_cur_step(self) -> int:
        """`cur_step`, as in StyleGAN2."""
        return self.cur_step

    def get_dlatents(self) -> np.ndarray:
        """`dlatents`, as in StyleGAN2."""
        return self.dlatents

    def get_noises(self) -> list[np.ndarray]:
        """`noises`, as in StyleGAN2."""
        return self.noises

    def get_images(self) -> np.ndarray:
        """`images_float`, as in StyleGAN2."""
        return self.images_float

    def _write_noise(self, noises: Sequence[np.ndarray]) -> None:
        """Sets the noise inputs of the network itself, to those of the first target."""
        variables = noise_variables(self._Gs.components.synthesis).values()
        with self._Gs.as_default():
            tflib.set_vars({v: n[:1] for v, n in zip(variables, noises, strict=True)})

    def _options(self) -> ProjectionOptions:
        names = (field.name for field in dataclasses.fields(ProjectionOptions))
        return ProjectionOptions(**{name: getattr(self, name) for name in names})

    def _current(self) -> Projection:
        if self._projection is None:
            raise UserError("the projector has no network: call set_network first")
        self._projection.options = self._options()
        return self._projection


def project(
    network_pkl: str,
    target_fname: str,
    outdir: str,
    save_video: bool,
    seed: int,
    num_steps: int = _DEFAULTS.num_steps,
) -> None:
    """Writes target.png, proj.png, dlatents.npz, and a video if wanted, into a folder.

    Args:
        network_pkl: file, https URL, or name of a published network.
        target_fname: a photo of any size.
        outdir: the folder.
        save_video: write `proj.mp4`, or `proj.webp` without the extra `video`.
        seed: of the random numbers.
        num_steps: steps to take.
    """
    tflib.init_tf({"rnd.np_random_seed": seed})
    Gs, distance = projection_distance.load(network_pkl)
    options = ProjectionOptions(num_steps=num_steps, seed=seed)
    projections.project_files(
        projections.Setup(Gs, distance, options), [target_fname], outdir, save_video
    )


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__, epilog=_EXAMPLE)
    add = parser.add_argument
    pretrained.add_network_option(add)
    add("--target", type=cli.existing_path, required=True, help="picture to project")
    add("--outdir", type=cli.folder_to_write, required=True, help="folder to write to")
    cli.add_save_video(add)
    add(
        "--seed",
        type=cli.integer(0, 2**31 - 1),
        default=_DEFAULTS.seed,
        help=f"of the random numbers (default: {_DEFAULTS.seed})",
    )
    add(
        "--num-steps",
        type=cli.integer(1),
        default=_DEFAULTS.num_steps,
        help=f"steps to take (default: {_DEFAULTS.num_steps})",
    )
    args = parser.parse_args()
    project(args.network, args.target, args.outdir, args.save_video, args.seed, args.num_steps)


if __name__ == "__main__":
    cli.run(main)
