"""What every part of the project uses and that knows nothing of GANs."""

from dnnlib.lazy_names import lazy_names
from dnnlib.util import EasyDict, UserError

__all__ = ["EasyDict", "UserError"]

# Official names for people's own scripts.
__getattr__ = lazy_names(
    __name__,
    {
        "submission": "dnnlib.submission",
        "make_cache_dir_path": "dnnlib.official_util",
        "RunContext": "dnnlib.submission.run_context",
        **dict.fromkeys(
            (
                "PathType",
                "PlatformExtras",
                "SubmitConfig",
                "SubmitTarget",
                "convert_path",
                "get_path_from_template",
                "make_run_dir_path",
                "submit_config",
                "submit_run",
            ),
            "dnnlib.submission.submit",
        ),
        "use_tensorflow_1": "dnnlib.tensorflow_1",
    },
)
