"""Files in a cache that others could have planted."""

from __future__ import annotations

import os
from pathlib import Path


def plant(path: str | Path, cache: Path, how: str) -> Path:
    """Writes a file where something built is looked for, so that it cannot be trusted.

    Args:
        path: of the file, in a folder of `cache` / "tf_ops".
        cache: the cache folder.
        how: `owner`, of another; `mode`, writable by all; `parent`, the cache is; `link`, the cache
            is another's link; `sticky`, in another's folder in one for all, as /tmp.
    """
    path = Path(path)
    path.parent.mkdir(parents=True)
    path.write_text("code of others")
    if how == "owner":
        os.chown(path, 65534, 65534)
    elif how == "mode":
        path.chmod(0o666)
    elif how == "parent":
        cache.chmod(0o777)
    elif how == "link":
        os.rename(cache, cache.with_name("other"))
        cache.symlink_to(cache.with_name("other"))
        os.chown(cache, 65534, 65534, follow_symlinks=False)
    else:
        (cache / "tf_ops").chmod(0o1777)
        os.chown(path.parent, 65534, 65534)
    return path
