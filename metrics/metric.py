"""What a metric is: `MetricBase`, and what those of reals and fakes share."""

from __future__ import annotations

import inspect
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dnnlib import UserError, urls
from dnnlib.tflib import Network
from dnnlib.tflib.autosummary import autosummary
from metrics import results
from metrics.evaluation import Evaluation, MetricOptions
from metrics.feature_networks import FeatureSources
from metrics.official_calls import OfficialHelpers, metric_session, options_of_call
from metrics.reals import RealImages
from metrics.results import MetricReport
from training.snapshots import pickles


class MetricBase(OfficialHelpers):
    """A metric. Those of this project implement `_measure`, those of one's own `_evaluate`.

        class Brightness(MetricBase):
            def _evaluate(self, Gs, Gs_kwargs, num_gpus):
                images = next(self._iterate_fakes(Gs, minibatch_size=8, num_gpus=num_gpus))
                self._report_result(images.mean())

        Brightness(name="brightness").run("network-final.pkl")

    Args:
        name: official name, as in `metric_defaults`, or one's own.
        force_dataset_args: arguments of the dataset that replace those of a run.
        force_G_kwargs: keyword arguments of the generator that replace those of a run.
        minibatch_per_gpu: official keyword without effect: images at once follow their size.

    Attributes:
        name: what results are reported under.
        option_name: what --metrics calls it; `name` may say with which network it looks.
        report: the last one, None before.
    """

    def __init__(
        self,
        name: str,
        force_dataset_args: Mapping[str, Any] | None = None,
        force_G_kwargs: Mapping[str, Any] | None = None,
        minibatch_per_gpu: int | None = None,
    ):
        self.name = self.option_name = name
        self.report: MetricReport | None = None
        self._force_dataset_args = dict(force_dataset_args or {})
        self._force_G_kwargs = dict(force_G_kwargs or {})
        self._configuration: dict[str, Any] = {}
        self._formats: dict[str, str] = {}

    def use_features(self, sources: FeatureSources) -> None:
        """Gets the feature networks.

        Raises:
            FeatureNetworkMissing: a network is not there and cannot be had.
        """

    def configure(
        self,
        dataset_args: Mapping[str, Any] | None = None,
        run_dir: str | None = None,
        progress_fn: Callable[[float, float], None] | None = None,
    ) -> None:
        """Says what `run` takes where it is given nothing else.

        Args:
            dataset_args, run_dir: as of `run`.
            progress_fn: called with what is done and what is to be done.
        """
        self._configuration = {"dataset_args": dataset_args, "run_dir": run_dir}
        self._progress_fn = progress_fn

    def run(
        self,
        network_pkl: str,
        run_dir: str | None = None,
        data_dir: str | None = None,
        dataset_args: Mapping[str, Any] | None = None,
        mirror_augment: bool | None = None,
        num_gpus: int = 1,
        tf_config: Mapping[str, Any] | None = None,
        log_results: bool = True,
        Gs_kwargs: Mapping[str, Any] | None = None,
        *,
        G_kwargs: Mapping[str, Any] | None = None,
        sources: FeatureSources | None = None,
        seed: int | None = None,
    ) -> MetricReport:
        """Measures a snapshot, in a graph and session of its own.

        Args:
            network_pkl: what `snapshots.load_generator` takes.
            run_dir: folder whose `training_options.json` says what is not given, and that gets the
                results; None: the options beside the snapshot, and nothing is written.
            data_dir: folder that a relative `tfrecord_dir` is in.
            dataset_args: for `load_dataset`; None: those of the training.
            mirror_augment: whether the network was trained on mirrored images; None: as the run.
            num_gpus: devices.
            tf_config: settings of the session.
            log_results: print the line of results, and write it.
            Gs_kwargs, G_kwargs: keyword arguments of the generator; None: `is_validation=True`.
            sources: feature networks; None: the published ones.
            seed: of the fakes; None draws one, which is reported.

        Raises:
            UserError: as `measure`, or the snapshot or the dataset is not there.
        """
        run_dir = self._configuration.get("run_dir") if run_dir is None else run_dir
        if dataset_args is None:
            dataset_args = self._configuration.get("dataset_args")
        options = options_of_call(
            network_pkl,
            run_dir,
            data_dir,
            dataset_args,
            mirror_augment,
            num_gpus=num_gpus,
            Gs_kwargs=Gs_kwargs or G_kwargs,
            sources=sources,
        )
        self.use_features(options.sources)
        seed = secrets.randbits(31) if seed is None else seed
        options = self.forced(replace(options, seed=seed))
        with metric_session(seed, tf_config):
            subject = pickles.load_subject(network_pkl, options.allow_pickled_code)
            name = snapshot_name(network_pkl)
            with Evaluation(subject.Gs, name, options, subject) as evaluation:
                self.measure(evaluation)
        if log_results:
            self.log(run_dir)
        return self.report

    def measure(self, evaluation: Evaluation, repeats: int = 1) -> MetricReport:
        """Measures one network.

        Args:
            evaluation: the network with its data, in the current graph and session.
            repeats: how often, each time with other fakes.

        Raises:
            UserError: too few images, a feature network that is missing, or a result that is not a
                finite number.
        """
        start = time.monotonic()
        evaluation.begin_metric()
        values: dict[str, list[float]] = {}
        for repeat in range(repeats):
            evaluation.repeat = repeat
            for suffix, value in self._measure(evaluation).items():
                if not math.isfinite(value):
                    raise UserError(
                        f"{self.name}{suffix} is {value}: the network's images or the "
                        "features are not finite numbers"
                    )
                values.setdefault(suffix, []).append(float(value))
        self.report = MetricReport(
            metric=self.name,
            snapshot=evaluation.snapshot,
            results={s: float(np.mean(v)) for s, v in values.items()},
            deviations={s: float(np.std(v, ddof=1)) for s, v in values.items() if repeats > 1},
            repeats=repeats,
            seconds=time.monotonic() - start,
            seed=evaluation.seed,
            option=self.option_name,
            **evaluation.facts(),
        )
        return self.report

    def forced(self, options: MetricOptions) -> MetricOptions:
        """Options with what this metric forces; the same ones if that is nothing."""
        if not self._force_dataset_args and not self._force_G_kwargs:
            return options
        args = {**(options.dataset_args or {}), **self._force_dataset_args}
        mirror = args.pop("mirror_augment", options.mirror_augment)
        kwargs = {**options.Gs_kwargs, **self._force_G_kwargs}
        return replace(options, dataset_args=args, mirror_augment=mirror, Gs_kwargs=kwargs)

    def log(self, run_dir: str | None) -> None:
        """Prints the last report, and writes it to a folder if one is given."""
        if run_dir is not None:
            results.write(self.report, run_dir, self._formats)
        print(self.get_result_str(), flush=True)
        for note in self.report.notes:
            print(f"  {self.report.metric}: {note}", flush=True)

    def get_result_str(self) -> str:
        """The official line of the last report."""
        return results.result_line(self.report, self._formats)

    def update_autosummaries(self) -> None:
        """Adds the last results to the statistics of the default graph, as `Metrics/NAME`."""
        for name, value in results.scalars([self.report]).items():
            autosummary(name, value)

    def close(self) -> None:
        """Official function without effect: nothing stays open between runs."""

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        """{suffix: value}; one value has the suffix ""."""
        self._results: dict[str, float] = {}
        self._labels_drawn, self.evaluation = 0, evaluation
        options = evaluation.options
        known = inspect.signature(self._evaluate).parameters
        name = "G_kwargs" if "G_kwargs" in known else "Gs_kwargs"
        try:
            kwargs = {name: dict(options.Gs_kwargs), "num_gpus": options.num_gpus}
            self._evaluate(evaluation.Gs, **kwargs)
        finally:
            self.evaluation = None
        if not self._results:
            raise UserError(f"{self.name} has no result: _evaluate() is to call _report_result()")
        return self._results

    def _evaluate(self, Gs: Network, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        """Measures a generator, and tells `_report_result`.

        Args:
            Gs: the generator, in the current graph and session.
            Gs_kwargs: its keyword arguments; called `G_kwargs` in the ADA repository.
            num_gpus: devices to use.
        """
        raise NotImplementedError


class RealsAgainstFakes(MetricBase):
    """A metric of features of real and of generated images.

    Args:
        name: as reported.
        num_fakes: images to generate.
        max_reals: real images to use at most; None for all.
        mirror: whether to mirror half of the reals; None: as the network was trained.
        num_images: official keyword of StyleGAN2, in place of `num_fakes` and `max_reals`.
        use_cached_real_stats: False: what is cached of the reals is computed anew.
        forced: see `MetricBase`.
    """

    # The official feature network, and what the official name begins with: it is replaced where
    # the features are those of a user's own network, which is no FID.
    role = "inception"
    official, general = "", ""

    def __init__(
        self,
        name: str,
        num_fakes: int | None = None,
        max_reals: int | None = None,
        mirror: bool | None = None,
        *,
        num_images: int | None = None,
        use_cached_real_stats: bool = True,
        **forced: Any,
    ):
        super().__init__(name, **forced)
        if num_images is not None:
            num_fakes = max_reals = num_images
        if num_fakes is None:
            raise UserError(f"metric {name} needs num_fakes, or num_images")
        self.num_fakes, self.max_reals, self.mirror = num_fakes, max_reals, mirror
        self.use_cached_real_stats = use_cached_real_stats

    def use_features(self, sources: FeatureSources) -> None:
        self._network = sources.get("own" if sources.own_file else self.role)
        if sources.own_file:
            own = f"{self._network.name}-{self._network.sha256[:8]}"
            self.name = f"{self.general}-{own}-{self.name.removeprefix(self.official)}"

    def _reals(self, evaluation: Evaluation) -> RealImages:
        return evaluation.reals(
            self._network, self.max_reals, self.mirror, self.use_cached_real_stats
        )


class DummyMetric(MetricBase):
    """Measures nothing: the official placeholder, to try out what surrounds metrics."""

    def _measure(self, evaluation: Evaluation) -> dict[str, float]:
        return {"": 0.0}


def snapshot_name(network_pkl: str) -> str:
    """What reports call a snapshot."""
    return os.path.splitext(os.path.basename(urls.show_source(network_pkl)))[0]
