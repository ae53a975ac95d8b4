"""How kernels are compiled, handed to the driver and launched, with a driver that notes it."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import c_interface
import launches
import numpy as np
import pytest

from tf_ops import artifacts, compilers, gpu_kernels, nvrtc

RANDOM = np.random.default_rng(5)
CONTEXTS = count(1000)  # The host's side remembers what it has loaded for each.
CAPABILITIES = (70, 75, 80, 86, 87, 89, 90, 100, 103, 120)


@pytest.fixture
def compiler():
    try:
        return nvrtc.find()
    except compilers.BuildError as error:
        pytest.skip(str(error))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    artifacts._say_once.cache_clear()
    return tmp_path / "cache/tf_ops"


def launch_something(cuda):
    x = np.ones((1, 4, 4, 1), np.float32)
    return c_interface.run_upfirdn(
        cuda.upfirdn, cuda.memory, x, np.ones((1, 1)), (1, 1), (1, 1), ((0, 0), (0, 0))
    )


class Recorded:
    """Calls that leave out the arrays: (what the host's side launched, pointers)."""

    def __init__(self, call):
        self.call = call
        self.arguments = None

    def __call__(self, *arguments):
        self.arguments = arguments
        return self.call(*arguments)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_kernel_compiles_for_every_gpu(compiler, fake, capability):
    """Quickly, which leaves out optimizations only."""
    if capability not in compiler.capabilities:
        pytest.skip(f"NVRTC {compiler.version} does not know {capability}")
    flags = (*nvrtc.FLAGS, "--Ofast-compile=max")
    cubin = compiler.compile(*nvrtc.program(), f"sm_{capability}", *flags)
    assert cubin[:4] == b"\x7fELF"
    assert len(fake.kernels) == 4 * 3 + 2 * 3 + 7 + 2 + 2
    assert all(f"\0.text.{name}\0".encode() in cubin for name in fake.kernels)


def test_compiled_handed_over_and_launched(compiler, cuda, fake, libraries, cache):
    """A cubin for a GPU that NVRTC knows, PTX for one that is newer."""
    fake.switch_context(next(CONTEXTS))
    gpu_kernels.hand_over(libraries[1], {90: gpu_kernels.image(90)})
    assert launch_something(cuda).tolist() == np.ones((1, 4, 4, 1)).tolist()
    assert fake.modules == [b"\x7fELF"]
    (folder,) = [p for p in cache.iterdir() if p.is_dir()]
    build = json.loads((folder / "build.json").read_text())
    assert build["architecture"] == "sm_90" and build["nvrtc_version"] == list(compiler.version)


def test_ptx_for_newer_gpus(compiler, cuda, fake, libraries, cache):
    newer = max(compiler.capabilities) + 10
    fake.reset(newer)
    fake.switch_context(next(CONTEXTS))
    image = gpu_kernels.image(newer)
    gpu_kernels.hand_over(libraries[1], {newer: image})
    launch_something(cuda)
    ptx = Path(image).read_bytes()
    assert fake.modules == [ptx[:4]]
    assert f".target sm_{max(compiler.capabilities)}".encode() in ptx and ptx.endswith(b"\0")


def test_a_module_for_each_context(cuda, fake):
    first, second = next(CONTEXTS), next(CONTEXTS)
    for context in (first, second, first):
        fake.switch_context(context)
        launch_something(cuda)
    assert len(fake.modules) == 2 and len(fake.launches()) == 3


def test_what_the_driver_refuses(cuda, fake):
    """Is passed on; and the next try is a new one."""
    call = Recorded(cuda.upfirdn)
    cuda.upfirdn = call
    fake.switch_context(next(CONTEXTS))
    fake.fail(218)
    with pytest.raises(AssertionError, match="CUDA error 218"):
        launch_something(cuda)
    fake.fail(0)
    launch_something(cuda)
    fake.reset(75)  # For which no kernels were handed over.
    fake.switch_context(next(CONTEXTS))
    with pytest.raises(AssertionError, match="CUDA error 209"):
        launch_something(cuda)
    assert cuda.error_name(209) == "CUDA_ERROR_NO_BINARY_FOR_GPU"
    fake.switch_context(0)
    with pytest.raises(AssertionError, match="CUDA error 3"):
        launch_something(cuda)


def test_streams_are_passed_on(libraries, cuda, fake):
    import cuda_kernels

    class Memory(c_interface.HostMemory):
        stream = 4711

    launch_something(cuda_kernels.kernels(libraries[1], Memory()))
    assert fake.launches()[0][-1] == 4711


def test_without_a_driver(libraries, tmp_path):
    """The library loads, and launching says what is missing."""
    import cuda_kernels

    library = tmp_path / "host.so"
    sources = [*nvrtc.SOURCES.glob("*_cuda.cc"), nvrtc.SOURCES / "device.cc"]
    flags = [*cuda_kernels.FLAGS, '-DCUDA_DRIVER="/nowhere/libcuda.so.1"']
    command = [*compilers.find_compiler(), *flags, *sources, "-o", library, "-ldl"]
    subprocess.run(list(map(str, command)), check=True)
    cuda = cuda_kernels.kernels(str(library), c_interface.HostMemory())
    with pytest.raises(AssertionError, match="CUDA error 303"):
        launch_something(cuda)
    assert cuda.error_name(303) == "/nowhere/libcuda.so.1 cannot be used"


# The launches of tests/gpu/launches.py, which check.py makes, are those of the C++ sources.


def same(noted, expected):
    assert [n[:3] for n in noted] == [e[:3] for e in expected]
    assert [n[3] for n in noted] == [bytes(e.arguments) for e in expected]


@pytest.mark.parametrize(
    ("shape", "taps", "up", "down", "pad"),
    [
        ((2, 9, 7, 3), (4, 4), (1, 1), (1, 1), ((2, 1), (1, 2))),
        ((2, 9, 7, 3), (4, 4), (2, 2), (1, 1), ((3, 1), (2, 2))),
        ((2, 9, 8, 300), (4, 4), (1, 1), (2, 2), ((1, 1), (1, 1))),
        ((70_000, 2, 1, 1), (3, 4), (1, 2), (2, 1), ((-1, 3), (2, 1))),
    ],
)
@pytest.mark.parametrize("dtype", c_interface.DTYPES)
def test_launches_of_upfirdn(cuda, fake, shape, taps, up, down, pad, dtype):
    x = np.zeros(shape, c_interface.numpy_type(dtype))
    k = RANDOM.normal(size=taps).astype(np.float32)
    call = Recorded(cuda.upfirdn)
    y = c_interface.run_upfirdn(call, cuda.memory, x, k, up, down, pad)
    pointers = [p.value for p in call.arguments[2:]]
    sizes, before = (*shape, *y.shape[1:3]), (pad[0][0], pad[1][0])
    how = k.tolist(), up, down, before, dtype
    same(fake.launches(), launches.upfirdn_2d(*pointers, sizes, *how))


@pytest.mark.parametrize(("order", "clamp"), [(0, -1.0), (1, 0.5), (2, -1.0)])
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 8, 512)])
@pytest.mark.parametrize("dtype", c_interface.DTYPES)
def test_launches_of_fused_bias_act(cuda, fake, shape, order, clamp, dtype):
    tensors = RANDOM.normal(size=(3, *shape)).astype(c_interface.numpy_type(dtype))
    call = Recorded(cuda.fused_bias_act)
    options = {"alpha": 0.2, "gain": 1.5, "clamp": clamp}
    c_interface.run_bias_act(
        call, cuda.memory, tensors[0], 1, order, "swish", reference=tensors[1], dy=tensors[2],
        noise=tensors[0][:, 0], **options,
    )  # fmt: skip
    given = call.arguments[2]._obj
    names = ("a", "reference", "dy", "noise", "out")
    pointers = {name: getattr(given, name) for name in names}
    options["clamp"] = None if clamp < 0 else clamp
    expected = launches.fused_bias_act(
        pointers, shape, shape[0], dtype, act="swish", order=order, noise_samples=shape[0],
        **options,
    )  # fmt: skip
    same(fake.launches(), expected)


@pytest.mark.parametrize("dtype", c_interface.DTYPES)
@pytest.mark.parametrize("shape", [(7, 3), (3, 5, 16), (9000, 3), (2, 3, 5000), (0, 3)])
def test_launches_of_channel_sum(cuda, fake, monkeypatch, shape, dtype):
    x = np.zeros(shape, c_interface.numpy_type(dtype))
    cuda.channel_sum(x, 1)
    noted = fake.launches()
    first, last = (
        ctypes.cast(n[3], ctypes.POINTER(ctypes.c_void_p)) for n in (noted[0], noted[-1])
    )
    sizes = shape[0], shape[1], int(np.prod(shape[2:]))
    workspace = first[1] if launches.channel_sum_workspace(sizes) else 0
    same(noted, launches.channel_sum(first[0], last[1], workspace, sizes, dtype))


@pytest.mark.parametrize("adjoint", [False, True])
def test_launches_of_sampling(cuda, fake, adjoint):
    x = RANDOM.normal(size=(2, 30, 20, 3)).astype(np.float32)
    call = Recorded(cuda.resample)
    transforms = RANDOM.normal(size=(2, 2, 3))
    c_interface.run_resample(call, cuda.memory, x, transforms, (17, 9), adjoint)
    op, _, source, target = call.arguments
    sizes = (2, 17, 9, 3, 30, 20) if adjoint else (2, 30, 20, 3, 17, 9)
    pointers = source.value, target.value, op._obj.transforms
    expected = launches.resample_2d(*pointers, sizes, adjoint)
    call = Recorded(cuda.weighted_gather)
    indices = RANDOM.integers(0, 9, size=(2, 30 if adjoint else 11, 4)).astype(np.int32)
    x = x[:, :2] if not adjoint else x.reshape(2, 2, 30, 10 * 3)[:, :, :30]
    weights = np.zeros(indices.shape, np.float32)
    size = 9 if adjoint else 11
    c_interface.run_gather(call, cuda.memory, x, indices, weights, size, adjoint)
    op, _, source, target = call.arguments
    ends = (9, x.shape[2]) if adjoint else (x.shape[2], 11)
    sizes = (2, 2, x.shape[3], *ends, 4)
    pointers = source.value, target.value, op._obj.indices, op._obj.weights
    expected += launches.weighted_gather(*pointers, sizes, adjoint)
    same(fake.launches(), expected)


# The command for machines with a GPU.


def check(*arguments):
    command = [sys.executable, str(Path(__file__).with_name("check.py")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_check_says_what_is_missing():
    result = check("--driver=/nowhere/libcuda.so.1")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert any(what in line for what in ("no NVIDIA driver", "no NVRTC", "PyTorch is needed"))


@pytest.mark.parametrize("option", ["--elements=0", "--elements=-5", "--runs=0", "--runs=x"])
def test_check_refuses_sizes_that_are_none(option):
    result = check(option)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert f"argument {option.partition('=')[0]}: " in result.stderr


def test_check_tells_what_differs_though_it_cannot_measure(libraries, compiler, tmp_path):
    """In a folder of its own, where comparisons need no PyTorch."""
    stub = "def compare_all(gpu):\n    yield 'x', float('nan'), 1e-3\n"
    (tmp_path / "comparisons.py").write_text(stub)
    code = f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import check; "
    code += f"sys.path.insert(0, {str(tmp_path)!r}); sys.exit(check.main())"
    report = tmp_path / "report.json"
    arguments = f"--driver={libraries[0]}", f"--json={report}", "--elements=100000000000000"
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 1, result.stderr
    assert "DIFFERS x" in result.stdout and "nothing measured" in result.stderr
    report = json.loads(report.read_text(), parse_constant=pytest.fail)
    assert report["comparisons"]["x"]["error"] == "nan" and not report["right"]
    assert "cuMemAlloc" in report["measuring"]


def test_check_with_the_fake_driver(libraries, compiler, tmp_path):
    """All but the GPU: compiles, packs arguments, compares with PyTorch, writes its report."""
    pytest.importorskip("torch", reason="needs PyTorch, to compare with")
    report = tmp_path / "report.json"
    small = "--elements=16384", "--runs=1"
    result = check(f"--driver={libraries[0]}", f"--json={report}", *small)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(report.read_text())
    assert report["right"] and report["architecture"] == "sm_90"
    assert len(report["comparisons"]) > 200 and len(report["bytes_per_second"]) == 40
