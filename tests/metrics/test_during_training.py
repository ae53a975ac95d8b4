"""--metrics of run_training.py: every snapshot is measured, and what fails does not end the run."""

import glob

import standins
import tensorflow.compat.v1 as tf

from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo


def test_snapshots_are_measured_while_training(tmp_path, run_script):
    create_demo(Output(str(tmp_path / "drawn"), shuffle=False, resolution=8), num_images=24)
    inception = standins.save_inception(tmp_path / "inception.tgz")
    done = run_script(
        [
            "run_training.py",
            f"--result-dir={tmp_path / 'results'}",
            f"--data-dir={tmp_path}",
            "--dataset=drawn",
            "--config=config-e",
            "--batch=8",
            "--fmap-base=32",
            "--fmap-max=4",
            "--latent-size=4",
            "--mapping-layers=1",
            "--total-kimg=0.016",
            "--snap=1",
            "--metrics=fid1k,pr50k3",
            f"--feature-net=inception={inception}",
        ],
        # pr50k3 needs VGG16, which is not to be had.
        env={"HTTPS_PROXY": "http://127.0.0.1:9"},
    )
    assert done.returncode == 0, done.stderr
    [run_dir] = (tmp_path / "results").iterdir()
    lines = (run_dir / "metric-fid1k.txt").read_text().splitlines()
    assert len(lines) == 2 and all("fid1k" in line for line in lines)
    assert (run_dir / "network-final.pkl").exists()
    assert done.stdout.count("Warning: no pr50k3") == 1
    [events] = glob.glob(str(run_dir / "events*"))
    tags = [v.tag for event in tf.train.summary_iterator(events) for v in event.summary.value]
    assert tags.count("Metrics/fid1k") == 2
