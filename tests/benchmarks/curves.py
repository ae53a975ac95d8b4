"""Training curves with native operations, with the reference, and in mixed precision, as a figure.

    python tests/benchmarks/curves.py WORKDIR

Three runs of one seed on drawn product pictures of 32×32; a run that WORKDIR holds is not repeated.
What lies on each other within the noise of the curves is the same training.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURE = Path(__file__).with_name("training-curves.png")
RUNS = {
    "native, float32": ({}, []),
    "reference, float32": ({"TF_OPS_IMPL": "ref"}, []),
    "native, mixed": ({}, ["--precision=mixed"]),
}
OPTIONS = [
    *("--config=config-f", "--fmap-base=512", "--fmap-max=64", "--latent-size=64"),
    *("--batch=32", "--gamma=0.5", "--total-kimg=20", "--snap=100"),
]
PANELS = {
    "Loss/D/loss": "loss of D",
    "Loss/G/loss": "loss of G",
    "Loss/scores/real": "scores of reals",
    "Loss/pl_lengths": "path lengths",
}


def run(script: str, *args: str, **environment: str) -> None:
    print("+", *(f"{k}={v}" for k, v in environment.items()), script, *args, flush=True)
    command = [sys.executable, str(ROOT / script), *args]
    subprocess.run(command, check=True, env={**os.environ, **environment})


def train(workdir: Path, name: str) -> list[dict]:
    """Rows of `stats.jsonl` of a run."""
    environment, options = RUNS[name]
    results = workdir / name.replace(", ", "-")
    if not list(results.glob("*/network-final.pkl")):
        data = [f"--data-dir={workdir}", "--dataset=drawn", f"--result-dir={results}"]
        run("run_training.py", *data, *OPTIONS, *options, **environment)
    stats = next(results.glob("*/stats.jsonl")).read_text()
    return [json.loads(line) for line in stats.splitlines()]


def plot(curves: dict[str, list[dict]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 3), layout="constrained")
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        for (name, rows), style in zip(curves.items(), ("-", "--", ":"), strict=True):
            rows = [row for row in rows if row["kimg"] > 1]
            axis.plot([r["kimg"] for r in rows], [r[key] for r in rows], style, label=name)
        axis.set(title=title, xlabel="thousands of images")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(FIGURE, dpi=80)
    print(f"Wrote {FIGURE}")


def main() -> None:
    workdir = Path(sys.argv[1])
    if not (workdir / "drawn").exists():
        run("dataset_tool.py", "create_demo", str(workdir / "drawn"), "--resolution=32")
    curves = {name: train(workdir, name) for name in RUNS}
    plot(curves)
    for name, rows in curves.items():
        tail = rows[len(rows) // 2 :]
        means = {title: sum(r[k] for r in tail) / len(tail) for k, title in PANELS.items()}
        print(name, {title: round(value, 3) for title, value in means.items()})


if __name__ == "__main__":
    main()
