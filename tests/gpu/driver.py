"""A GPU by the C interface of its driver: memory, the kernels, launches, times."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_void_p

DRIVER = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # Of CUdevice_attribute.


class DriverError(Exception):
    """What the driver says."""


class Gpu:
    """The first GPU, until the process ends."""

    def __init__(self, driver: str = DRIVER):
        """Opens the driver. Raises a DriverError if there is none, or no GPU."""
        try:
            self._library = ctypes.CDLL(driver)
        except OSError as error:
            raise DriverError(f"there is no NVIDIA driver: {error}") from error
        self._call("cuInit", c_uint(0))
        count, device, context = c_int(), c_int(), c_void_p()
        self._call("cuDeviceGetCount", byref(count))
        if count.value == 0:
            raise DriverError("the driver sees no GPU")
        self._call("cuDeviceGet", byref(device), c_int(0))
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        self._call("cuCtxSetCurrent", context)
        name, version = ctypes.create_string_buffer(256), c_int()
        self._call("cuDeviceGetName", name, c_int(256), device)
        self._call("cuDriverGetVersion", byref(version))
        self.name = name.value.decode(errors="replace")
        self.driver_version = f"{version.value // 1000}.{version.value % 1000 // 10}"
        numbers = []
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            value = c_int()
            self._call("cuDeviceGetAttribute", byref(value), c_int(attribute), device)
            numbers.append(value.value)
        self.capability = 10 * numbers[0] + numbers[1]
        self._module = c_void_p()
        self._functions: dict[str, c_void_p] = {}

    def load(self, image: bytes) -> None:
        """Loads a cubin or PTX, whose kernels `launch` finds."""
        self._call("cuModuleLoadData", byref(self._module), c_char_p(image))

    def allocate(self, size: int) -> int:
        """Address of memory for so many bytes, which must be given to `free`."""
        pointer = c_void_p()
        self._call("cuMemAlloc_v2", byref(pointer), c_size_t(max(size, 1)))
        return pointer.value

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", c_void_p(address))

    def write(self, address: int, source: int, size: int) -> None:
        """Copies from an address of the host."""
        self._call("cuMemcpyHtoD_v2", c_void_p(address), c_void_p(source), c_size_t(size))

    def read(self, target: int, address: int, size: int) -> None:
        """Copies to an address of the host, when all launches have ended."""
        self._call("cuCtxSynchronize")
        self._call("cuMemcpyDtoH_v2", c_void_p(target), c_void_p(address), c_size_t(size))

    def copy(self, target: int, address: int, size: int) -> None:
        """Starts a copy within the memory of the GPU."""
        pointers = c_void_p(target), c_void_p(address)
        self._call("cuMemcpyDtoDAsync_v2", *pointers, c_size_t(size), None)

    def launch(self, kernel: str, grid, block, arguments: ctypes.Structure) -> None:
        """Starts a kernel with one struct of arguments."""
        if kernel not in self._functions:
            function = c_void_p()
            name = c_char_p(kernel.encode())
            self._call("cuModuleGetFunction", byref(function), self._module, name)
            self._functions[kernel] = function
        parameters = (c_void_p * 1)(ctypes.addressof(arguments))
        sizes = [c_uint(n) for n in (*grid, *block, 0)]
        self._call("cuLaunchKernel", self._functions[kernel], *sizes, None, parameters, None)

    def seconds(self, call, runs: int) -> float:
        """Mean time of what `call` starts, on the GPU."""
        for _ in range(3):
            call()
        start, end = c_void_p(), c_void_p()
        for event in (start, end):
            self._call("cuEventCreate", byref(event), c_uint(0))
        self._call("cuEventRecord", start, None)
        for _ in range(runs):
            call()
        self._call("cuEventRecord", end, None)
        self._call("cuEventSynchronize", end)
        milliseconds = c_float()
        self._call("cuEventElapsedTime", byref(milliseconds), start, end)
        return milliseconds.value / 1e3 / runs

    def _call(self, name: str, *arguments) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise DriverError(f"the driver has no {name}") from error
        if code := function(*arguments):
            text = c_char_p()
            self._library.cuGetErrorName(code, byref(text))
            raise DriverError(f"{name}: {(text.value or b'unknown error').decode()} ({code})")
