"""As much of CUDA's driver API as running an engine takes, by ctypes: it comes with NVIDIA's driver, so a target needs no more.

Names, arguments and constants as in the CUDA Driver API reference (``cuda.h``); every call returns a status.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from devices.errors import DeviceOutOfMemory, DeviceUnavailable

LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2
_CAPTURE_THREAD_LOCAL = 1
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_INSTALL = "install NVIDIA's driver on a machine with an NVIDIA GPU"


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, and its compute capability as TensorRT writes it (``sm86``)."""

    name: str
    sm: str


def missing() -> str:
    """Why no GPU can be used here, and after a colon what to do; empty if one can."""
    try:
        Driver()
    except DeviceUnavailable as error:
        return f"{error.message}: {error.hint}"
    return ""


@final
class Driver:
    """NVIDIA's driver, with at least one GPU.

    Args:
        library: the loaded ``libcuda``.

    Raises:
        DeviceUnavailable: there is no driver, or no GPU.
    """

    def __init__(self, library: Any = None) -> None:
        if library is None:
            try:
                library = ctypes.CDLL(LIBRARY)
            except OSError:
                raise DeviceUnavailable("without an NVIDIA GPU (no driver found)", hint=_INSTALL) from None
        self._library = library
        status, count = library.cuInit(0), ctypes.c_int()
        if status == 0:
            status = library.cuDeviceGetCount(ctypes.byref(count))
        if status != 0 or count.value < 1:
            why = f"the driver answers {status}" if status else "the driver finds none"
            raise DeviceUnavailable(f"without an NVIDIA GPU ({why})", hint=_INSTALL)
        self.count = count.value

    def version(self) -> str:
        """The CUDA version that the driver supports, e.g. ``13.0``."""
        number = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def gpu(self, index: int) -> Gpu:
        """The GPU of that number.

        Raises:
            DeviceUnavailable: there are not so many.
        """
        if index >= self.count:
            raise DeviceUnavailable(
                f"There is no GPU {index}: this machine has {self.count}.", hint="They count from 0: gpu=0."
            )
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        self.call("cuDeviceGet", ctypes.byref(device), index)
        self.call("cuDeviceGetName", name, len(name), device)
        capability = [ctypes.c_int(), ctypes.c_int()]
        for value, attribute in zip(capability, (_CAPABILITY_MAJOR, _CAPABILITY_MINOR), strict=True):
            self.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        return Gpu(name.value.decode(), f"sm{capability[0].value}{capability[1].value}")

    def use(self, index: int) -> None:
        """Make a GPU's primary context, which CUDA's runtime and TensorRT share, this thread's."""
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), index)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises:
            DeviceOutOfMemory, DeviceUnavailable: it failed; the message has its own words.
        """
        status = getattr(self._library, name)(*arguments)
        if status == 0:
            return
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        said = f"{name}: {(text.value or b'unknown error').decode()} ({status})"
        if status == _OUT_OF_MEMORY:
            raise DeviceOutOfMemory(f"The model does not fit into the GPU's memory. CUDA says: {said}.")
        raise DeviceUnavailable(f"The GPU cannot do its part. CUDA says: {said}.")


@final
class Buffer:
    """An array's bytes on the GPU; freed when it is no longer referred to.

    Attributes:
        pointer: address on the GPU.
    """

    def __init__(self, driver: Driver, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._driver, self._shape, self._dtype = driver, shape, dtype
        self.nbytes = max(1, int(np.prod(shape)) * dtype.itemsize)
        address = ctypes.c_uint64()
        driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(self.nbytes))
        self.pointer = address.value
        weakref.finalize(self, driver.call, "cuMemFree_v2", address)

    def write(self, value: NDArray[Any]) -> None:
        """Copy ``value`` there."""
        whole = np.ascontiguousarray(value, self._dtype)
        self._driver.call(
            "cuMemcpyHtoD_v2",
            ctypes.c_uint64(self.pointer),
            ctypes.c_void_p(whole.ctypes.data),
            ctypes.c_size_t(whole.nbytes),
        )

    def read(self) -> NDArray[Any]:
        """A copy of what is there."""
        value = np.empty(self._shape, self._dtype)
        self._driver.call(
            "cuMemcpyDtoH_v2",
            ctypes.c_void_p(value.ctypes.data),
            ctypes.c_uint64(self.pointer),
            ctypes.c_size_t(value.nbytes),
        )
        return value


@final
class Stream:
    """A queue of work on the GPU, other than the default one (on which TensorRT synchronises more).

    Attributes:
        handle: the driver's.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        stream = ctypes.c_void_p()
        driver.call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(1))  # does not wait for the default stream
        self._stream, self.handle = stream, stream.value or 0
        weakref.finalize(self, driver.call, "cuStreamDestroy_v2", stream)

    def synchronize(self) -> None:
        """Wait for everything in the queue."""
        self._driver.call("cuStreamSynchronize", self._stream)

    def recorded(self, work: Callable[[], object]) -> Callable[[], None]:
        """What ``work`` puts into the queue, as a CUDA graph; calling it puts all of that there at once."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        with self._capture(graph):
            work()
        self._driver.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        self._driver.call("cuGraphDestroy", graph)
        weakref.finalize(self, self._driver.call, "cuGraphExecDestroy", executable)
        driver, stream = self._driver, self._stream
        return lambda: driver.call("cuGraphLaunch", executable, stream)

    @contextmanager
    def _capture(self, graph: ctypes.c_void_p) -> Iterator[None]:
        self._driver.call("cuStreamBeginCapture_v2", self._stream, _CAPTURE_THREAD_LOCAL)
        try:
            yield
        finally:
            self._driver.call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
