"""Metrics by their official names: `MetricBase` is one of them, `MetricGroup` several at once."""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dnnlib import UserError, own_code
from dnnlib.tflib.autosummary import autosummary
from dnnlib.util import did_you_mean
from metrics import results
from metrics.evaluation import Evaluation, MetricOptions
from metrics.feature_networks import FeatureNetworkMissing
from metrics.metric import DummyMetric, MetricBase, RealsAgainstFakes, snapshot_name
from metrics.metric_defaults import metric_defaults
from metrics.official_calls import metric_session, options_of_call
from metrics.results import MetricReport
from training.snapshots import pickles
from training.snapshots.pickles import Subject

__all__ = ["DummyMetric", "MetricBase", "MetricGroup", "RealsAgainstFakes", "create"]


def create(metric: str | Mapping[str, Any]) -> MetricBase:
    """A metric.

    Args:
        metric: an official name; `module.Class` of the user's own, if it is registered; or the
            constructor's arguments and, as `func_name`, the class: those of the caller's own code,
            never any that were read.

    Raises:
        UserError: there is none of that name.
    """
    own = own_code.metrics.find(metric)
    if own is not None:
        try:
            made = own(name=own.__name__)
        except Exception as error:
            raise UserError(f"--metrics={metric}: {own_code.describe_error(error)}") from error
        if not isinstance(made, MetricBase):
            raise UserError(f"--metrics={metric}: it is no metrics.metric_base.MetricBase")
        made.option_name = metric
        return made
    if isinstance(metric, str) and metric not in metric_defaults:
        hint = did_you_mean(metric, metric_defaults)
        names = ", ".join(metric_defaults)
        raise UserError(f"--metrics: no metric {metric!r}: {hint}use {names}")
    arguments = dict(metric_defaults[metric] if isinstance(metric, str) else metric)
    module, _, function = arguments.pop("func_name").rpartition(".")
    return getattr(importlib.import_module(module), function)(**arguments)


@dataclass
class MetricGroup:
    """Several metrics, measured on one snapshot after another.

    A metric that fails, in whatever way, is reported and the others continue: a failing metric
    never ends a training run. A metric whose feature network cannot be had is not tried again.

    Args:
        metrics: official names, or arguments as of `create`.
        options: dataset, devices, seed, feature networks; None: what `run` is given.

    Attributes:
        reports: of the last snapshot.
        errors: {metric: message} of the last snapshot.
        names: of the metrics.
    """

    metrics: Sequence[str | Mapping[str, Any]]
    options: MetricOptions | None = None
    reports: list[MetricReport] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = [m if isinstance(m, str) else m["name"] for m in self.metrics]
        self._pending = dict(zip(self.names, map(create, self.metrics), strict=True))
        self._ready: dict[str, MetricBase] = {}

    def run(
        self,
        network_pkl: str,
        run_dir: str | None = None,
        *,
        tf_config: Mapping[str, Any] | None = None,
        log_results: bool = True,
        only: Collection[str] | None = None,
        **official: Any,
    ) -> list[MetricReport]:
        """Measures a snapshot, in a graph and session of its own.

        Args:
            network_pkl: what `snapshots.load_generator` takes.
            run_dir: folder that gets `metric-NAME.txt`, `.jsonl` and `.png`; None: nothing is
                written.
            tf_config: settings of the session.
            log_results: print lines of results, and write them.
            only: names of the metrics to measure; None: all.
            official: further arguments of `MetricBase.run`, if the group has no options.

        Returns:
            Reports of the metrics that succeeded.
        """
        self.reports, self.errors = [], {}
        options = self.options
        if options is None:
            options = options_of_call(network_pkl, run_dir, **official)
        elif official:
            raise TypeError(f"the options of the group say what {', '.join(official)} are")
        # Deviation: the official code's draws are lost; here the report holds the seed.
        options = replace(
            options, seed=secrets.randbits(31) if options.seed is None else options.seed
        )
        names = [n for n in self.names if only is None or n in only]
        try:
            with metric_session(options.seed, tf_config):
                subject = pickles.load_subject(network_pkl, options.allow_pickled_code)
                name = snapshot_name(network_pkl)
                self._run_all(names, subject, name, options, run_dir, log_results)
        except Exception as error:  # A full disk, too little memory on a GPU.
            self._failed(", ".join(names), error)
        return self.reports

    def _run_all(
        self,
        names: Sequence[str],
        subject: Subject,
        snapshot: str,
        options: MetricOptions,
        run_dir: str | None,
        log: bool,
    ) -> None:
        ready = [name for name in names if self._get_ready(name, options)]
        if not ready:
            return
        with Evaluation(subject.Gs, snapshot, options, subject) as evaluation:
            for name in ready:
                metric = self._ready[name]
                try:
                    forced = metric.forced(options)
                    if forced is options:
                        self.reports.append(metric.measure(evaluation, options.repeats))
                    else:
                        with Evaluation(subject.Gs, snapshot, forced, subject) as own:
                            self.reports.append(metric.measure(own, options.repeats))
                    if log:
                        metric.log(run_dir)
                except FeatureNetworkMissing as error:
                    del self._ready[name]
                    self._failed(name, error)
                except Exception as error:  # Whatever code of the user's own may raise.
                    self._failed(name, error)

    def _get_ready(self, name: str, options: MetricOptions) -> bool:
        """Whether the feature network is there; it is asked for once."""
        if name in self._pending:
            metric = self._pending.pop(name)
            try:
                metric.use_features(options.sources)
                self._ready[name] = metric
            except Exception as error:
                self._failed(name, error)
        return name in self._ready

    def _failed(self, name: str, error: Exception) -> None:
        self.errors[name] = own_code.describe_error(error)
        print(f"Warning: no {name}: {self.errors[name]}", flush=True)

    def get_result_str(self) -> str:
        """The official lines of the last snapshot."""
        return "\n".join(results.result_line(report) for report in self.reports)

    def update_autosummaries(self) -> None:
        """Adds the results of the last snapshot to the statistics of the default graph."""
        for name, value in self.scalars().items():
            autosummary(name, value)

    def plot_missing(self, run_dir: str) -> None:
        """Draws plots that lack rows of their files; says what cannot be drawn."""
        for name in self.names:
            try:
                results.plot_missing(name, run_dir)
            except Exception as error:  # Results are of code of the user's own, maybe.
                said = own_code.describe_error(error)
                print(f"Warning: no plot of {name}: {said}", flush=True)

    def scalars(self) -> dict[str, float]:
        """{TensorBoard tag: value} of the last snapshot."""
        return results.scalars(self.reports)
