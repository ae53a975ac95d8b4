from setuptools import find_packages, setup

setup(
    name="stylegan2-products",
    version="0.1.0",
    description="StyleGAN2 with ADA for product pictures, on today's TensorFlow",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["dnnlib*", "metrics*", "tf_ops*", "training*"]),
    package_data={
        "tf_ops": ["kernels/*"],  # Built on first use.
        "training.snapshots": ["networks/*"],
    },
    py_modules=[
        "dataset_tool",
        "pretrained_networks",
        "projector",
        "run_generator",
        "run_metrics",
        "run_projector",
        "run_training",
    ],
    install_requires=[
        "tensorflow>=2.18,<2.22",
        "charset-normalizer>=3",
        "google-crc32c>=1.5",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "pillow>=10",
        "scipy>=1.11",
        "requests>=2.31",
        "tensorboard>=2.18",
        "tqdm>=4.66",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.18,<2.22"],
        "beam": ["apache-beam>=2.60"],
        "hdf5": ["h5py>=3.8"],
        "lsun": ["lmdb>=1.4"],
        "onnx": ["onnxruntime>=1.17"],
        "parquet": ["pyarrow>=16"],
        "video": ["imageio-ffmpeg>=0.5"],
        "test": [
            "h5py>=3.8",
            "hypothesis>=6",
            "imageio-ffmpeg>=0.5",
            "lmdb>=1.4",
            "pyarrow>=16",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.8",
        ],
    },
)
