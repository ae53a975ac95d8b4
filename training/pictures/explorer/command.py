"""The command explore of run_generator.py: options, checks, and what it calls."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from collections.abc import Callable

from dnnlib import UserError, cli

COMMAND = "explore"
_HOST, _PORT = "127.0.0.1", 7860
_DIRECTIONS = "directions.npz"
_HINT = 'pip install starlette uvicorn, or pip install -e ".[explore]"'


def add_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command; see `control_commands.add_commands`."""
    text = "Shows a page in the browser: pictures by seed, class and attribute, photos, walks."
    sub = command(COMMAND, text, "--directions=directions.npz", psi=None)
    add = sub.add_argument
    add("--directions", type=cli.path, metavar="FILE.npz",
        help="what the command directions has written, for sliders of attributes "
        f"(default: {_DIRECTIONS}, if it is of this network)")  # fmt: skip
    add("--port", type=cli.integer(0, 65535), default=_PORT,
        help=f"of the page; 0: any that is free (default: {_PORT})")  # fmt: skip
    add("--host", default=_HOST, metavar="ADDRESS",
        help="address to listen at; any other than the default, 0.0.0.0 say, lets everyone in the "
        "network use the page, without a password: upload photos, and save pictures here "
        f"(default: {_HOST}, this machine alone)")  # fmt: skip
    group = sub.add_mutually_exclusive_group()
    cli.add_result_dir(group.add_argument, "root of the run directories, one of which is made for "
                       "what is saved (default: results)")  # fmt: skip
    group.add_argument("--outdir", type=cli.folder_to_write, metavar="DIR",
                       help="folder to save to itself")  # fmt: skip


def check(args: argparse.Namespace) -> None:
    """Opens the port, and says what is wrong with the options, before anything heavy is loaded.

    Raises:
        UserError: a file or package that is missing, or an address or port that cannot be used.
    """
    if args.directions is not None and not os.path.isfile(args.directions):
        raise UserError(
            f"--directions={args.directions}: there is no such file; run_generator.py directions "
            "writes it"
        )
    try:
        import starlette  # noqa: F401 (whether it is there)
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"explore needs {error.name}, which is not installed: {_HINT}") from error
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    try:
        args.listener = socket.create_server((args.host, args.port), family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen at --host={args.host} --port={args.port}: {reason}: another program "
            "may have the port, or the address may not be of this machine; --port=0 takes a free "
            "one"
        ) from error


def run(args: argparse.Namespace, load_distance: Callable) -> None:
    """Runs the command in the session that is the default, until Ctrl-C.

    Args:
        args: checked.
        load_distance: what projections minimize, of (Gs, D).
    """
    from training.latents.directions import files
    from training.pictures.explorer import server
    from training.pictures.explorer.desk import Desk
    from training.pictures.explorer.explorer import Explorer, Materials
    from training.snapshots.pickles import Subject, load_subject

    def find_directions(subject: Subject) -> tuple[str, files.Directions] | None:
        path = args.directions or _DIRECTIONS
        if args.directions is None and not os.path.isfile(path):
            return None
        try:
            directions = files.load(path)
            files.check_network(directions, path, subject)
        except UserError as error:
            if args.directions is not None:
                raise
            print(f"NOTE: no sliders for attributes: {error}", file=sys.stderr)
            return None
        return path, directions

    subject = load_subject(args.network, args.allow_pickled_code)
    directions = find_directions(subject)
    distance = load_distance(subject.Gs, subject.D)
    materials = Materials(args.network, subject, directions, distance)
    with args.listener, tempfile.TemporaryDirectory(prefix="explore.") as folder:
        explorer = Explorer(materials, Desk(folder, args.result_dir, args.outdir))
        explorer.warm_up()
        host, port = args.listener.getsockname()[:2]
        if not server.is_local(args.host):
            print(
                f"NOTE: --host={args.host}: everyone who can reach this address may use the page, "
                "without a password",
                file=sys.stderr,
            )
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}/ shows {args.network}; Ctrl-C ends it", flush=True)
        server.serve(explorer, args.listener, args.host)
