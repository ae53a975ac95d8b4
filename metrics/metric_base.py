"""What all metrics share: `MetricBase` is one of them, `MetricGroup` several at once."""

from __future__ import annotations

import importlib
import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, own_code, tflib, urls
from dnnlib.tflib import Network
from dnnlib.util import did_you_mean, one_line
from metrics import results
from metrics.evaluation import Evaluation, MetricOptions
from metrics.feature_networks import FeatureNetworkMissing, FeatureSources
from metrics.metric_defaults import metric_defaults
from metrics.reals import RealImages
from metrics.results import MetricReport
from training.snapshots import pickles

# What may go wrong with a metric and leaves the rest of the program sound: a full disk, too little
# memory on a GPU.
_FAILURES = (UserError, OSError, MemoryError, ArithmeticError, ValueError, tf.errors.OpError)


class MetricBase:
    """A metric: a subclass a file implements `_evaluate`.

    Args:
        name: official name, as in `metric_defaults`.

    Attributes:
        name: what results are reported under.
    """

    def __init__(self, name: str):
        self.name = name

    def use_features(self, sources: FeatureSources) -> None:
        """Gets the feature networks.

        Raises:
            FeatureNetworkMissing: a network is not there and cannot be had.
        """

    def run(self, evaluation: Evaluation, repeats: int = 1) -> MetricReport:
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
            for suffix, value in self._evaluate(evaluation).items():
                if not math.isfinite(value):
                    raise UserError(
                        f"{self.name}{suffix} is {value}: the network's images or the "
                        "features are not finite numbers"
                    )
                values.setdefault(suffix, []).append(float(value))
        return MetricReport(
            metric=self.name,
            snapshot=evaluation.snapshot,
            results={s: float(np.mean(v)) for s, v in values.items()},
            deviations={s: float(np.std(v, ddof=1)) for s, v in values.items() if repeats > 1},
            repeats=repeats,
            seconds=time.monotonic() - start,
            seed=evaluation.seed,
            **evaluation.facts(),
        )

    def _evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        """{suffix: value}; one value has the suffix ""."""
        raise NotImplementedError


class RealsAgainstFakes(MetricBase):
    """A metric of features of real and of generated images.

    Args:
        name: as reported.
        num_fakes: images to generate.
        max_reals: real images to use at most; None for all.
        mirror: whether to mirror half of the reals; None: as the network was trained.
    """

    # The official feature network, and what the official name begins with: it is replaced where
    # the features are those of a user's own network, which is no FID.
    role = "inception"
    official, general = "", ""

    def __init__(
        self, name: str, num_fakes: int, max_reals: int | None, mirror: bool | None = None
    ):
        super().__init__(name)
        self.num_fakes, self.max_reals, self.mirror = num_fakes, max_reals, mirror

    def use_features(self, sources: FeatureSources) -> None:
        self._network = sources.get("own" if sources.own_file else self.role)
        if sources.own_file:
            own = f"{self._network.name}-{self._network.sha256[:8]}"
            self.name = f"{self.general}-{own}-{self.name.removeprefix(self.official)}"

    def _reals(self, evaluation: Evaluation) -> RealImages:
        return evaluation.reals(self._network, self.max_reals, self.mirror)


class DummyMetric(MetricBase):
    """Measures nothing: the official placeholder, to try out what surrounds metrics."""

    def _evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        return {"": 0.0}


def create(name: str) -> MetricBase:
    """The metric of an official name, or one of the user's own by `module.Class`.

    Raises:
        UserError: there is none.
    """
    own = own_code.metrics.find(name)
    if own is not None:
        metric = own(name=own.__name__)
        if not isinstance(metric, MetricBase):
            raise UserError(f"--metrics={name}: it is no metrics.metric_base.MetricBase")
        return metric
    if name not in metric_defaults:
        hint = did_you_mean(name, metric_defaults)
        names = ", ".join(metric_defaults)
        raise UserError(f"--metrics: no metric {name!r}: {hint}use {names}")
    arguments = dict(metric_defaults[name])
    module, _, function = arguments.pop("func_name").rpartition(".")
    return getattr(importlib.import_module(module), function)(**arguments)


@dataclass
class MetricGroup:
    """Several metrics, measured on one snapshot after another.

    A metric that fails is reported and the others continue: a failing metric never ends a training
    run. A metric whose feature network cannot be had is not tried again.

    Args:
        metrics: official names.
        options: dataset, devices, seed, feature networks.

    Attributes:
        reports: of the last snapshot.
        errors: {metric: message} of the last snapshot.
    """

    metrics: Sequence[str]
    options: MetricOptions
    reports: list[MetricReport] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pending = {name: create(name) for name in self.metrics}
        self._ready: dict[str, MetricBase] = {}

    def run(self, network_pkl: str, run_dir: str | None = None) -> list[MetricReport]:
        """Measures a snapshot, in a graph and session of its own.

        Args:
            network_pkl: what `snapshots.load_generator` takes.
            run_dir: folder that gets `metric-NAME.txt`, `.jsonl` and `.png`; None: nothing is
                written.

        Returns:
            Reports of the metrics that succeeded.
        """
        self.reports, self.errors = [], {}
        # Deviation: the official code's draws are lost; here the report holds the seed.
        seed = self.options.seed if self.options.seed is not None else secrets.randbits(31)
        options = replace(self.options, seed=seed)
        try:
            with tflib.graph_session(seed):
                Gs = pickles.load_generator(network_pkl, options.allow_pickled_code)
                snapshot = os.path.splitext(os.path.basename(urls.show_source(network_pkl)))[0]
                self._run_all(Gs, snapshot, options, run_dir)
        except _FAILURES as error:
            self._failed(", ".join(self.metrics), error)
        return self.reports

    def _run_all(
        self, Gs: Network, snapshot: str, options: MetricOptions, run_dir: str | None
    ) -> None:
        ready = [name for name in self.metrics if self._get_ready(name)]
        if not ready:
            return
        with Evaluation(Gs, snapshot, options) as evaluation:
            for name in ready:
                try:
                    report = self._ready[name].run(evaluation, options.repeats)
                    self.reports.append(report)
                    if run_dir is not None:
                        results.write(report, run_dir)
                    print(results.result_line(report), flush=True)
                    for note in report.notes:
                        print(f"  {report.metric}: {note}", flush=True)
                except FeatureNetworkMissing as error:
                    del self._ready[name]
                    self._failed(name, error)
                except _FAILURES as error:
                    self._failed(name, error)

    def _get_ready(self, name: str) -> bool:
        """Whether the feature network is there; it is asked for once."""
        if name in self._pending:
            metric = self._pending.pop(name)
            try:
                metric.use_features(self.options.sources)
                self._ready[name] = metric
            except UserError as error:
                self._failed(name, error)
        return name in self._ready

    def _failed(self, name: str, error: Exception) -> None:
        self.errors[name] = one_line(error)
        print(f"Warning: no {name}: {one_line(error)}", flush=True)

    def get_result_str(self) -> str:
        """The official lines of the last snapshot."""
        return "\n".join(results.result_line(report) for report in self.reports)

    def scalars(self) -> dict[str, float]:
        """{TensorBoard tag: value} of the last snapshot."""
        return {
            f"Metrics/{report.metric}{suffix}": value
            for report in self.reports
            for suffix, value in report.results.items()
        }
