"""What the user of a run should know, in words, and what helps."""

from __future__ import annotations

from collections.abc import Iterator

from training.augmentation.presets import MAX_STRENGTH, TARGETS
from training.config.comparison_methods import METHODS
from training.datasets.photos.arrays import WHITE_BORDER
from training.run.page.run_files import RunFiles

_SKIPPED = "/skipped_steps"
# See `metrics.copies`: of new photos, as many look like copies; and C_T of what copies nothing.
_COPIES_SHARE, _COPIES_Z = 0.05, -3.0


def find_alerts(run: RunFiles) -> list[str]:
    """Warnings, the worst first."""
    checks = (_diverged, _skipped, _copies, _strength, _borders)
    return [text for check in checks for text in check(run)] + run.problems


def _diverged(run: RunFiles) -> Iterator[str]:
    if run.failure:
        yield f"The run diverged: {run.failure}"


def _skipped(run: RunFiles) -> Iterator[str]:
    for name in dict.fromkeys(n for row in run.stats for n in row if n.endswith(_SKIPPED)):
        rows = [row for row in run.stats if row.get(name, 0) > 0]
        if rows:
            yield (
                f"{name.removesuffix(_SKIPPED)} skipped steps because numbers were not finite, in "
                f"{len(rows)} of {len(run.stats)} ticks, last at {rows[-1]['kimg']:g} thousand "
                f"images ({rows[-1][name]:.0%} of that tick's steps). A few do no harm; if there "
                "are more and more, lower --lrate or --gamma, or leave out --precision=mixed."
            )


def _copies(run: RunFiles) -> Iterator[str]:
    for name, rows in run.metrics.items():
        results = rows[-1].results
        found = []
        if name.startswith("copies") and results.get("_share", 0) > _COPIES_SHARE:
            found.append(f"{results['_share']:.1%} of the pictures look like copies of photos")
        if name.startswith("copies") and results.get("_z", 0) < _COPIES_Z:
            found.append(
                f"pictures lie nearer to the photos than photos held out do (C_T "
                f"{results['_z']:.1f})"
            )
        if found:
            yield (
                f"{rows[-1].snapshot} copies photos that it was trained on: {'; '.join(found)}. "
                f"See the closest pairs, in metric-{name}-{rows[-1].snapshot}.png. More photos, "
                "--aug=ada and an earlier snapshot help."
            )


def _strength(run: RunFiles) -> Iterator[str]:
    method = METHODS.get(str(run.option("cmethod")))
    limit = 1.0 if method is not None and method.has_strength else MAX_STRENGTH
    p, mode = run.last.get("augment", 0), str(run.option("augment_args", "mode"))
    if mode in TARGETS and p > limit - 1e-3:
        yield (
            f"p of the augmentation is at its limit, {limit:g}: D overfits, and more augmentation "
            "does not help any more. The last snapshots may be worse than earlier ones; compare "
            "them by a metric. More photos help, or other transformations (--augpipe)."
        )


def _borders(run: RunFiles) -> Iterator[str]:
    white = run.last.get("white_border")
    if white is not None and white < WHITE_BORDER:
        early = (
            "A longer run may help; if not"
            if run.is_over
            else "Early in a run that is so; if it stays"
        )
        yield (
            f"The borders of fakes are white in {white:.0%} of their pixels, those of reals in "
            f"{WHITE_BORDER:.0%} or more. {early}, use --augpipe=bgc-white."
        )
