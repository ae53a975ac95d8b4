"""What the page of the explorer asks for, made by the functions that the commands call."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dnnlib import UserError, cli
from dnnlib.output import watched
from training.datasets.photos.arrays import read_picture, to_pixels
from training.latents.attributes.measured import PICTURE
from training.latents.directions import files as directions_files
from training.latents.distances import Distance
from training.latents.noise_maps import noise_restored
from training.latents.options import ProjectionOptions, TruncationOptions, WalkOptions
from training.latents.projection import Projection
from training.latents.truncation import find_centers
from training.pictures import generation, options, walk_videos
from training.pictures.edits import Edit, total_step
from training.pictures.explorer.command_lines import NOISE, CommandLines, line
from training.pictures.explorer.desk import Desk, Result
from training.pictures.explorer.requests import (
    GridRequest,
    MixRequest,
    PhotoRequest,
    PictureRequest,
    WalkRequest,
    typed,
)
from training.pictures.projection_files import save_dlatents
from training.pictures.projections import Setup, project_files
from training.pictures.provenance import Provenance
from training.pictures.samples import Studio
from training.snapshots.class_names import Class, count_classes, find_classes
from training.snapshots.pickles import Subject

# Of all pictures of a grid, a mix or a walk together.
_MOST_PIXELS = 1 << 26
_MOST_WAITING = 16
_MOST_PHOTOS = 100  # Whose w are kept.
_OF_W = "Save writes the w of this picture too: FILE.npz in the command."


class Stopped(KeyboardInterrupt):
    """The user, or the end of the server, stopped the work."""


@dataclass(frozen=True)
class Materials:
    """What an explorer works with.

    Attributes:
        network: as the command line has it: file, URL or name.
        subject: the snapshot.
        directions: (path, content) of a file of directions of this snapshot, or None.
        distance: what projections minimize.
    """

    network: str
    subject: Subject
    directions: tuple[str, directions_files.Directions] | None
    distance: Distance


class Explorer:
    """Makes pictures for any thread, one request at a time.

    Args:
        materials: what it works with.
        desk: where results go.

    Attributes:
        progress: (text, done, total or None) of what is made at the moment.
    """

    def __init__(self, materials: Materials, desk: Desk):
        self.materials, self.desk = materials, desk
        self.progress: tuple[str, int, int | None] = ("", 0, None)
        self._Gs, self._provenance = materials.subject.Gs, Provenance(materials.subject.sha256)
        self._lines = CommandLines(materials.network, self._Gs)
        self._lock, self._waiting = threading.Lock(), threading.BoundedSemaphore(_MOST_WAITING)
        self._is_stopped, self._is_closed = threading.Event(), threading.Event()
        self._projections: dict[str, Projection] = {}
        self._photos: dict[str, np.ndarray] = {}  # w by the id of the result.
        self._unchanged: tuple[Any, np.ndarray] | None = None  # What was measured last.

    def warm_up(self) -> None:
        """Builds the graph of pictures of seeds and of w, before anybody waits for it."""
        self.picture(PictureRequest())
        with self._working() as (number, folder):
            self._from_w(folder, Studio(self._Gs).draw([0]).dlatents[0])
            self.desk.discard(number)

    def stop(self) -> None:
        """Ends what is made at the moment: what there is of a walk or projection is kept."""
        self._is_stopped.set()

    def close(self) -> None:
        """Ends what is made, and begins nothing any more."""
        self._is_closed.set()
        self.stop()

    def picture(self, request: PictureRequest) -> Result:
        """One picture, with its measured attributes.

        Raises:
            UserError: a direction, class or photo that there is not.
        """
        steps = {name: step for name, step in request.steps.items() if step}
        classes = self._classes(request.class_number)
        with self._working() as (number, folder):
            if not steps and request.photo is None:
                generation.generate_images(
                    self._Gs, [request.seed], request.psi, folder, classes, folder, NOISE,
                    provenance=self._provenance,
                )  # fmt: skip
                path = os.path.join(folder, f"seed{request.seed:04d}.png")
                files, values = {".png": path}, _measured(path)
                before = values
            else:
                studio = Studio(self._Gs, request.psi, classes)
                w = self._source(studio, request)
                files = self._from_w(folder, w + self._step(steps))
                values = _measured(files[".png"])
                before = self._before(studio, request, w) if steps else values
        name = f"seed{request.seed:04d}" if request.photo is None else "photo"
        facts = {"command": self._lines.picture(request, bool(steps)), "values": _numbers(values)}
        facts |= {"before": _numbers(before), "note": _OF_W if ".npz" in files else ""}
        name += "-edited" if steps else ""
        return self.desk.add(Result(number, "picture", files, name, facts))

    def grid(self, request: GridRequest) -> Result:
        """Many pictures in one, and the seed and class of each.

        Raises:
            UserError: a class that there is not, or too many pictures.
        """
        size, classes = (request.columns, request.rows), self._classes(request.class_number)
        self._check_size(request.columns * request.rows)
        with self._working() as (number, folder):
            path = os.path.join(folder, "grid.png")
            rows = generation.generate_grid(
                self._Gs, size, [request.seed], request.psi, path, classes,
                provenance=self._provenance,
            )  # fmt: skip
        cells = [
            {"seed": request.seed + y * request.columns + x, "class": rows[y] if rows else None}
            for y in range(request.rows)
            for x in range(request.columns)
        ]
        words = {"grid": "{}x{}".format(*size), "seeds": request.seed, "out": "grid.png"}
        command = self._lines.of("generate-grid", request, **words)
        facts = {"command": command, "cells": cells, "columns": request.columns}
        return self.desk.add(Result(number, "grid", {".png": path}, "grid", facts))

    def mix(self, request: MixRequest) -> Result:
        """Styles of pairs of seeds.

        Raises:
            UserError: seeds, layers or a class that there are not, or too many pictures.
        """
        rows = typed("row seeds", options.seed_list, request.row_seeds)
        columns = typed("column seeds", options.seed_list, request.col_seeds)
        styles = None
        if request.col_styles.strip():
            styles = typed("layers", cli.int_list, request.col_styles)
        classes = self._classes(request.class_number)
        self._check_size((len(rows) + 1) * (len(columns) + 1))
        with self._working() as (number, folder):
            generation.style_mixing_example(
                self._Gs, rows, columns, request.psi, styles, folder, classes, folder,
                provenance=self._provenance,
            )  # fmt: skip
        words = {"row_seeds": request.row_seeds, "col_seeds": request.col_seeds}
        words |= {"col_styles": request.col_styles.strip() or None, "outdir": "mixing"}
        command = self._lines.of("style-mixing-example", request, **words)
        path = os.path.join(folder, "grid.png")
        return self.desk.add(Result(number, "mix", {".png": path}, "mixing", {"command": command}))

    def walk(self, request: WalkRequest) -> Result:
        """A film; one that is stopped has the frames so far.

        Raises:
            UserError: seeds, a class or a direction that there are not, or too many pictures.
        """
        seeds = typed("seeds", options.seed_list, request.seeds)
        classes = self._classes(request.class_number)
        walk = WalkOptions(request.walk, seeds, request.w_frames, psi=request.psi)
        direction = None
        if request.walk == "direction":
            direction = self._direction_option(request.direction)
        keyframes = len(classes) or count_classes(self._Gs) if request.walk == "class" else 1
        self._check_size(len(seeds) * request.w_frames * max(keyframes, 1))
        note = ""
        with self._working() as (number, folder):
            path = os.path.join(folder, f"walk.{request.film}")
            centers = find_centers(self._Gs, TruncationOptions())
            try:
                with noise_restored(self._Gs.components.synthesis):
                    walk_videos.generate_video(
                        self._Gs, walk, centers, path, classes, direction,
                        provenance=self._provenance,
                    )  # fmt: skip
            except Stopped:
                if not os.path.exists(path):
                    raise
                note = "Stopped: these are the frames so far."
        words = {"walk": request.walk, "seeds": request.seeds, "w_frames": request.w_frames}
        words |= {"direction": direction, "out": f"walk.{request.film}"}
        facts = {"command": self._lines.of("generate-video", request, **words), "note": note}
        return self.desk.add(Result(number, "walk", {f".{request.film}": path}, "walk", facts))

    def photo(self, request: PhotoRequest, content: bytes) -> Result:
        """Projects a photo; one that is stopped is as far as it has come.

        Args:
            request: how.
            content: of the file.

        Raises:
            UserError: it is no picture.
        """
        setup = Setup(
            self._Gs,
            self.materials.distance,
            # Of the network's own noise, so that w alone gives the picture.
            ProjectionOptions(num_steps=request.num_steps, space=request.space, noise_mode=NOISE),
            minibatch=1,
            classes=self._classes(request.class_number),
            provenance=self._provenance,
        )
        note = ""
        with self._working() as (number, folder):
            target, made = os.path.join(folder, "photo"), os.path.join(folder, "projected")
            with open(target, "wb") as file:
                file.write(content)
            projection = self._projections.get(request.space)
            if projection is None:
                projection = Projection(self._Gs, setup.distance, 1, setup.options)
                self._projections[request.space] = projection
            try:
                project_files(setup, [target], made, False, projection)
            except Stopped:
                if not os.path.exists(os.path.join(made, "dlatents.npz")):
                    raise  # It had not begun.
                note = f"Stopped after {projection.cur_step} steps."
            except UserError as error:
                raise UserError(str(error).replace(target, "the photo")) from error
            paths = {name: os.path.join(made, name) for name in ("proj.png", "target.png")}
            npz = os.path.join(made, "dlatents.npz")
            shape = self._Gs.components.synthesis.input_shape[1:]
            self._photos[number] = generation.read_dlatents(npz, shape)[0]
            if len(self._photos) > _MOST_PHOTOS:
                del self._photos[next(iter(self._photos))]
        words = {"target": "PHOTO", "outdir": "out", "num_steps": request.num_steps}
        words |= {"space": request.space, "noise_mode": NOISE, "save_video": "false"}
        words |= {"network": self.materials.network, "class": self._lines.class_word(request)}
        command = line("run_projector.py", "project", **words)
        files = {".png": paths["proj.png"], "-target.png": paths["target.png"], ".npz": npz}
        facts = {"command": command, "note": note}
        return self.desk.add(Result(number, "photo", files, "photo", facts))

    def save(self, number: str) -> dict[str, Any]:
        """Saves a result, and says which command makes it again.

        Raises:
            UserError: there is no such result, or it cannot be written.
        """
        saved, network = self.desk.save(number), self.materials.network
        again, npz = None, saved.get(".npz")
        if npz is not None and self.desk.find(number).kind == "photo":
            # Projecting is not repeated: its w make the picture.
            words = {"network": network, "dlatents": npz, "outdir": "."}
            again = line("run_generator.py", "generate-images", **words)
        elif ".png" in saved:
            words = {"network": network, "dlatents": npz}
            again = f"{line('run_generator.py', 'reproduce', **words)} "
            again += shlex.quote(saved[".png"])
        return {"files": list(saved.values()), "command": again}

    @contextmanager
    def _working(self) -> Iterator[tuple[str, str]]:
        """The network is this thread's alone; gives (id, path) of a folder for the result.

        Raises:
            UserError: too many wait already, or the work was stopped.
        """
        if not self._waiting.acquire(blocking=False):
            raise UserError(f"{_MOST_WAITING} requests are already waiting: try again")
        try:
            with self._lock:
                self._is_stopped.clear()
                number, folder = self.desk.new_folder()
                try:
                    self._watch("", 0, None)
                    with self._Gs.as_default(), watched(self._watch):
                        yield number, folder
                except BaseException as error:
                    self.desk.discard(number)
                    if isinstance(error, Stopped):
                        raise UserError("stopped") from error
                    raise
                finally:
                    self.progress = ("", 0, None)
        finally:
            self._waiting.release()

    def _watch(self, text: str, done: int, total: int | None) -> None:
        self.progress = (text, done, total)
        if self._is_stopped.is_set() or self._is_closed.is_set():
            raise Stopped

    def _classes(self, number: int | None) -> list[Class]:
        return [] if number is None else find_classes(self._Gs, str(number))

    def _check_size(self, count: int) -> None:
        if count * int(np.prod(self._Gs.output_shape[2:])) > _MOST_PIXELS:
            most = _MOST_PIXELS // int(np.prod(self._Gs.output_shape[2:]))
            raise UserError(f"these are {count} pictures: the page makes {most} at most at once")

    def _source(self, studio: Studio, request: PictureRequest) -> np.ndarray:
        """The w [num_layers, dlatent_size] that steps begin at."""
        if request.photo is None:
            return studio.draw([request.seed]).dlatents[0]
        if request.photo not in self._photos:
            raise UserError("this photo is not known any more: project it again")
        return self._photos[request.photo]

    def _step(self, steps: dict[str, float]) -> np.ndarray:
        if not steps:
            return np.zeros([], np.float32)
        if self.materials.directions is None:
            raise UserError("there are no directions: give --directions=FILE.npz")
        path, directions = self.materials.directions
        return total_step(directions, Edit(steps, path))

    def _direction_option(self, name: str | None) -> str:
        if self.materials.directions is None:
            raise UserError("there are no directions: give --directions=FILE.npz")
        path, directions = self.materials.directions
        directions_files.find_direction(directions, path, name or "")
        return f"{path}:{name}"

    def _from_w(self, folder: str, w: np.ndarray) -> dict[str, str]:
        npz = os.path.join(folder, "w.npz")
        save_dlatents(npz, w[np.newaxis].astype(np.float32))
        generation.generate_from_dlatents(self._Gs, npz, folder, folder, self._provenance)
        return {".png": os.path.join(folder, "dlatent00.png"), ".npz": npz}

    def _before(self, studio: Studio, request: PictureRequest, w: np.ndarray) -> np.ndarray:
        """Attributes without the steps; those of the last picture are remembered."""
        key = replace(request, steps={})
        if self._unchanged is None or self._unchanged[0] != key:
            self._unchanged = (key, studio.measure(w[np.newaxis], PICTURE)[0])
        return self._unchanged[1]


def _measured(path: str) -> np.ndarray:
    return PICTURE.function(to_pixels(read_picture(path))[np.newaxis])[0]


def _numbers(values: np.ndarray) -> dict[str, float | None]:
    """By the names of the attributes; None where there is no clean background."""
    pairs = zip(PICTURE.names, values, strict=True)
    return {name: float(f"{v:.4g}") if np.isfinite(v) else None for name, v in pairs}
