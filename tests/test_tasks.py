"""Tasks: the parts stay apart, normalisation has one meaning, and bad data is refused with a reason."""

from __future__ import annotations

import gzip
import http.server
import io
import struct
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import hwnas.tasks
from devices.events import Note
from hwnas.errors import InvalidData
from hwnas.task import Split, Task, normalize
from hwnas.tasks import fashion_mnist, idx


def packed(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def data(n: int = 60, classes: int = 3, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 5, 4), np.uint8), (np.arange(n) % classes).astype(np.uint8)


def write_idx(folder: Path, *, zipped: bool = False, **replaced: bytes) -> Path:
    """Four IDX files; ``replaced`` has other contents by a file's first two words, e.g. ``train_labels``."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = dict(zip(idx.FILES, (*data(), *data(30, seed=1)), strict=True))
    for name, array in arrays.items():
        content = replaced.get("_".join(name.split("-")[:2]), packed(array))
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return folder


def write_images(folder: Path, parts: tuple[str, ...] = ("train",), n: int = 36, mode: str = "RGB") -> Path:
    """PNG files of 8 × 10 pixels in ``PART/cat``, ``PART/dog`` and ``PART/owl``."""
    rng = np.random.default_rng(0)
    for part in parts:
        for i in range(n):
            file = folder / part / ("cat", "dog", "owl")[i % 3] / f"{i:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 10, 3), np.uint8)).convert(mode).save(file)
    return folder


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture(params=hwnas.tasks.names())
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    """Every task; one that this fixture does not know how to open fails here."""
    images, labels = data()
    match request.param:
        case "digits":
            return hwnas.tasks.open("digits")
        case "folder":
            return hwnas.tasks.open("folder", path=write_images(tmp_path / "images"), size=6)
        case "idx":
            return hwnas.tasks.open("idx", path=write_idx(tmp_path / "idx", zipped=True))
        case "npz":
            return hwnas.tasks.open("npz", path=write_npz(tmp_path / "a.npz", images=images, labels=labels))
        case "fashion_mnist":
            own = fashion_mnist.data_folder() / "fashion-mnist"
            if not any((p / f"{idx.FILES[0]}.gz").exists() for p in (fashion_mnist.DEBIAN_FOLDER, own)):
                pytest.skip("Fashion-MNIST is not on this machine; hwnas.tasks.open('fashion_mnist') fetches it")
            return hwnas.tasks.open("fashion_mnist")
    raise AssertionError(f"write down how to open the task {request.param!r} for the tests")


def test_every_task_keeps_its_contract(task: Task) -> None:
    test = task.test()
    for split in (task.train, task.validation, test):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert split.images.shape == (len(split), *task.input_shape)
    assert set(task.train.labels) == set(task.validation.labels) == set(range(len(task.classes)))
    whole = normalize(task.train.images, task, task.input_shape[1])
    assert whole.dtype == np.float32
    if task.input_shape[1] == task.input_shape[2]:
        assert whole.mean((0, 2, 3)) == pytest.approx(0, abs=1e-3)
        assert whole.std((0, 2, 3)) == pytest.approx(1, abs=1e-3)


def rows(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


def test_parts_share_no_example_and_the_seed_never_moves_the_test(tmp_path: Path) -> None:
    images, labels = data(90)
    path = write_npz(tmp_path / "a.npz", images=images, labels=labels)
    first, second = (hwnas.tasks.open("npz", path=path, seed=s) for s in (0, 1))
    assert rows(first.test()) == rows(second.test())
    assert rows(first.validation) != rows(second.validation)
    parts = [rows(first.train), rows(first.validation), rows(first.test())]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 90
    again = hwnas.tasks.open("npz", path=path, seed=0)
    np.testing.assert_array_equal(first.validation.images, again.validation.images)
    assert np.bincount(first.validation.labels).tolist() == [4, 4, 4]  # a sixth of what the test left of each class


@pytest.mark.parametrize("examples", [1, 2, 3])
def test_every_class_has_an_example_in_each_part(tmp_path: Path, examples: int) -> None:
    """The highest class too, which nobody would miss among the training labels."""
    images, _ = data(20 + examples)
    path = write_npz(tmp_path / "a.npz", images=images, labels=np.array([0, 1] * 10 + [2] * examples))
    if examples < 3:
        with pytest.raises(
            InvalidData, match=f"class 2 has {examples} .* 3 or more, one each to train, to validate, to test"
        ):
            hwnas.tasks.open("npz", path=path)
    else:
        task = hwnas.tasks.open("npz", path=path)
        for split in (task.train, task.validation, task.test()):
            assert (split.labels == 2).sum() == 1


def test_test_images_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    folder = write_idx(tmp_path)
    task = hwnas.tasks.open("idx", path=folder)
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    with pytest.raises(InvalidData, match="ends within its header"):
        task.test()


def test_unknown_name_lists_the_tasks() -> None:
    with pytest.raises(ValueError, match="unknown task 'fashion-mnist', did you mean 'fashion_mnist'"):
        hwnas.tasks.open("fashion-mnist")


@pytest.mark.parametrize("name", ["folder", "idx", "npz"])
def test_path_is_needed(name: str) -> None:
    with pytest.raises(ValueError, match="needs a path"):
        hwnas.tasks.open(name)


def test_unknown_setting_lists_the_tasks_own() -> None:
    with pytest.raises(ValueError, match="task 'folder' has no setting 'sise', did you mean 'size'"):
        hwnas.tasks.open("folder", path="x", sise=3)
    with pytest.raises(ValueError, match=r"task 'digits' has no setting 'size' \(known: path, flip\)"):
        hwnas.tasks.open("digits", size=3)


@pytest.mark.parametrize("size", [None, 0, -3, 1.5, True, "8"])
def test_a_folder_of_images_needs_a_size(tmp_path: Path, size: Any) -> None:
    with pytest.raises(ValueError, match=r"task 'folder'.* size.* got"):
        hwnas.tasks.open("folder", path=tmp_path, size=size)
    with pytest.raises(ValueError, match="task 'folder': grayscale: Input should be a valid boolean, got 'false'"):
        hwnas.tasks.open("folder", path=tmp_path, size=8, grayscale="false")


def test_images_of_a_folder_are_resized_as_pil_does(tmp_path: Path) -> None:
    folder = write_images(tmp_path, ("train", "validation", "test"))
    events: list[Any] = []
    task = hwnas.tasks.open("folder", path=folder, size=6, on_event=events.append)
    assert (task.classes, task.input_shape) == (("cat", "dog", "owl"), (3, 6, 6))
    assert [e.done for e in events] == [36, 36]
    for part, split in (("train", task.train), ("validation", task.validation), ("test", task.test())):
        files = sorted((folder / part).rglob("*.png"))
        assert split.labels.tolist() == [task.classes.index(file.parent.name) for file in files]
        wanted = np.asarray(Image.open(files[7]).resize((6, 6), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(split.images[7], wanted.transpose(2, 0, 1))
    gray = hwnas.tasks.open("folder", path=folder, size=10, grayscale=True)
    assert gray.input_shape == (1, 10, 10)
    wanted = np.asarray(Image.open(files[7]).convert("L").resize((10, 10), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(gray.test().images[7, 0], wanted)


def test_what_a_folder_does_not_keep_apart_is_drawn(tmp_path: Path) -> None:
    first, second = (hwnas.tasks.open("folder", path=write_images(tmp_path), size=8, seed=s) for s in (0, 1))
    assert rows(first.test()) == rows(second.test())
    assert rows(first.validation) != rows(second.validation)
    assert [len(first.train), len(first.validation), len(first.test())] == [24, 6, 6]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK"])
def test_a_folder_takes_every_8_bit_image(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    folder = write_images(tmp_path)
    Image.new(mode, (30, 20)).save(folder / "train" / "cat" / f"other.{suffix}")
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    task = hwnas.tasks.open("folder", path=folder, size=8)
    assert len(task.train) + len(task.validation) + len(task.test()) == 37


def test_an_image_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    folder = write_images(tmp_path, ("train", "test"))
    Image.fromarray(pixels).save(folder / "test" / "cat" / "000.png", exif=exif)
    turned = hwnas.tasks.open("folder", path=folder, size=8).test().images[0]
    np.testing.assert_array_equal(turned[0], np.rot90(pixels[..., 0], -1))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "it is not an image"), (b"no image", "it is not an image"), (slice(80), "truncated|broken|not an image")],
)
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_damaged_image_is_named(tmp_path: Path, part: str, content: Any, message: str) -> None:
    folder = write_images(tmp_path, ("train", "validation", "test"))
    file = folder / part / "dog" / "001.png"
    file.write_bytes(file.read_bytes()[content] if isinstance(content, slice) else content)
    with pytest.raises(InvalidData, match=rf"{part}.dog.001.png cannot be read: .*({message})"):
        hwnas.tasks.open("folder", path=folder, size=8).test()


def test_an_image_of_more_than_8_bits_is_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path)
    Image.new("I;16", (8, 8)).save(folder / "train" / "cat" / "deep.png")
    with pytest.raises(InvalidData, match=r"deep.png cannot be read: .*eight bits"):
        hwnas.tasks.open("folder", path=folder, size=8)


def test_a_folder_without_classes_or_with_strange_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="train cannot be read"):
        hwnas.tasks.open("folder", path=tmp_path / "none", size=8)
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(InvalidData, match="holds no folder"):
        hwnas.tasks.open("folder", path=tmp_path / "empty", size=8)
    folder = write_images(tmp_path / "a", ("train", "test"))
    (folder / "test" / "cow").mkdir()
    with pytest.raises(InvalidData, match="test has the class 'cow', which is not in train"):
        hwnas.tasks.open("folder", path=folder, size=8)
    (folder / "test" / "cow").rmdir()
    (folder / "train" / "emu").mkdir()
    with pytest.raises(InvalidData, match=r"class 2 \(emu\) has 0 training examples"):
        hwnas.tasks.open("folder", path=folder, size=8)


def test_embedded_task_refuses_a_path() -> None:
    with pytest.raises(ValueError, match="takes no path"):
        hwnas.tasks.open("digits", path="x")


@pytest.mark.parametrize("size", [3, 8, 12, 21])
def test_resizing_is_torchs_antialiased_bilinear(size: int) -> None:
    import torch

    task = hwnas.tasks.open("digits")
    images = task.train.images[:20]
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(images.astype(np.float32) / 255), (size, size), mode="bilinear", antialias=True
    ).numpy()
    got = normalize(images, task, size) * task.std[0] + task.mean[0]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_normalising_does_not_depend_on_the_batch() -> None:
    task = hwnas.tasks.open("digits")
    images = task.train.images[:9]
    one_by_one = np.concatenate([normalize(images[i : i + 1], task, 12) for i in range(9)])
    np.testing.assert_array_equal(normalize(images, task, 12), one_by_one)


IMAGES, LABELS = data()


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_images": b""}, "starts with nothing"),
        ({"train_images": packed(LABELS)}, "must start with 00000803, it starts with 00000801"),
        ({"train_labels": packed(IMAGES)}, "must start with 00000801"),
        ({"train_images": packed(IMAGES)[:-1]}, "promises 1200 bytes"),
        ({"train_images": packed(IMAGES) + b"\0"}, "it holds more"),
        ({"train_images": struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 1) + b"\0"}, "promises 4611686018427387904"),
        ({"train_images": packed(IMAGES[:0])}, "there are no images"),
        ({"train_labels": packed(LABELS[:-1])}, "60 images but 59 labels"),
        ({"train_labels": packed(LABELS * 0)}, "at least two classes"),
        ({"train_labels": packed(LABELS * 2)}, "class 1 has 0 training examples"),
        ({"t10k_labels": packed(np.zeros((30, 1), np.uint8))}, "must start with 00000801"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_bad_idx_is_refused_with_its_reason(
    tmp_path: Path, zipped: bool, replaced: dict[str, bytes], message: str
) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        hwnas.tasks.open("idx", path=write_idx(tmp_path, zipped=zipped, **replaced))
    assert caught.value.hint


def test_missing_idx_file_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="is not a folder"):
        hwnas.tasks.open("idx", path=tmp_path / "none")
    (write_idx(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InvalidData, match="holds no t10k-labels-idx1-ubyte"):
        hwnas.tasks.open("idx", path=tmp_path)


def test_test_part_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    wide = write_idx(tmp_path / "a", t10k_images=packed(np.zeros((30, 5, 9), np.uint8)))
    with pytest.raises(InvalidData, match=r"test images have shape \(1, 5, 9\), training images \(1, 5, 4\)"):
        hwnas.tasks.open("idx", path=wide).test()
    strange = write_idx(tmp_path / "b", t10k_labels=packed(np.full(30, 7, np.uint8)))
    with pytest.raises(InvalidData, match="label 7, but the training labels end at 2"):
        hwnas.tasks.open("idx", path=strange).test()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 1300), zipped=st.booleans(), name=st.sampled_from(idx.FILES))
def test_truncated_idx_never_gives_an_answer(tmp_path: Path, cut: int, zipped: bool, name: str) -> None:
    folder = write_idx(tmp_path / str(zipped), zipped=zipped)
    file = idx.locate(folder)[name]
    whole = file.read_bytes()
    file.write_bytes(whole[: max(0, len(whole) - cut)])
    with pytest.raises(InvalidData):
        hwnas.tasks.open("idx", path=folder).test()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.data(), compressed=st.booleans())
def test_damaged_npz_gives_the_right_answer_or_none(tmp_path: Path, content: st.DataObject, compressed: bool) -> None:
    images, labels = data()
    path = tmp_path / f"{compressed}.npz"
    (np.savez_compressed if compressed else np.savez)(path, images=images, labels=labels)
    raw = bytearray(path.read_bytes())
    position = content.draw(st.integers(0, len(raw) - 1))
    if content.draw(st.booleans()):
        raw[position] ^= content.draw(st.integers(1, 255))
    else:
        del raw[position:]
    path.write_bytes(raw)
    try:
        task = hwnas.tasks.open("npz", path=path)
    except InvalidData:
        return
    everything = rows(task.train) | rows(task.validation) | rows(task.test())
    assert everything == {image.tobytes() for image in images}


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_npz_takes_channels_first_or_last(tmp_path: Path, axes: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 6, 5, 3), np.uint8)
    path = write_npz(tmp_path / "a.npz", x_train=images.transpose(axes), y_train=np.arange(24) % 2,
                     x_test=images[:4].transpose(axes), y_test=np.arange(4) % 2)  # fmt: skip
    task = hwnas.tasks.open("npz", path=path, flip=True)
    assert task.input_shape == (3, 6, 5)
    assert task.flip
    np.testing.assert_array_equal(task.test().images, images[:4].transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "holds pictures"),
        ({}, "holds nothing"),
        ({"images": IMAGES / 255, "labels": LABELS}, "images must be uint8 .*, got float64"),
        ({"images": IMAGES * np.nan, "labels": LABELS}, "images must be uint8"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "labels must be whole numbers, got float64"),
        ({"images": IMAGES, "labels": LABELS.astype(int) - 1}, "labels run from -1 to 1"),
        ({"images": IMAGES, "labels": LABELS.astype(int) * 10**9}, "labels run from 0 to 2000000000"),
        ({"images": IMAGES, "labels": np.eye(3, dtype=int)[LABELS]}, r"got .* and \(60, 3\)"),
        ({"images": IMAGES[0], "labels": LABELS}, r"has shape \(5, 4\)"),
        ({"images": IMAGES[..., None, None], "labels": LABELS}, "has shape"),
        ({"images": IMAGES[:, None, :, :3], "labels": LABELS}, "does not say which axis holds the channels"),
        ({"images": IMAGES[:, :0], "labels": LABELS}, "there are no images"),
        ({"images": IMAGES, "labels": LABELS[:9]}, "60 images but 9 labels"),
        ({"images": IMAGES, "labels": np.array([{"label": 1}] * 60)}, "Python objects, which are never unpickled"),
    ],
)
def test_bad_npz_is_refused_with_its_reason(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        hwnas.tasks.open("npz", path=write_npz(tmp_path / "a.npz", **arrays))
    assert caught.value.hint


@pytest.mark.parametrize("shape", [(10**6, 10**6), (60, 5, 4, 1), (-60, -20)])
def test_npz_that_declares_other_sizes_than_it_has_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", member.getvalue() + bytes(1000))
        archive.writestr("labels.npy", member.getvalue())
    with pytest.raises(InvalidData, match=r"says .* bytes for shape"):
        hwnas.tasks.open("npz", path=tmp_path / "a.npz")


def test_file_that_is_no_npz_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"not a zip file")
    for path in (tmp_path / "a.npz", tmp_path / "none.npz", tmp_path):
        with pytest.raises(InvalidData, match=r"cannot be read as \.npz"):
            hwnas.tasks.open("npz", path=path)


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Fashion-MNIST, without apt, whose download address is a server of this test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    return tmp_path


@pytest.fixture
def served(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the base class's name

    folder = write_idx(nothing_here / "served", zipped=True, train_labels=packed(data(classes=10)[1]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(fashion_mnist, "ADDRESS", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def test_fashion_mnist_is_fetched_once_and_checked(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    digests = {f.stem: hashlib.sha256(gzip.decompress(f.read_bytes())).hexdigest() for f in served.iterdir()}
    notes: list[Any] = []
    with pytest.raises(InvalidData, match="SHA-256 is not the published one"):
        hwnas.tasks.open("fashion_mnist", on_event=notes.append)
    assert [type(n) for n in notes] == [Note, Note]
    monkeypatch.setattr(fashion_mnist, "SHA256", digests)
    task = hwnas.tasks.open("fashion_mnist", on_event=notes.append)
    assert task.flip
    assert task.classes[9] == "Ankle boot"
    assert len(notes) == 4
    hwnas.tasks.open("fashion_mnist", on_event=notes.append)
    assert len(notes) == 4


def test_fashion_mnist_says_where_it_looked(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(
        InvalidData, match=r"debian: not there .* apt-get and dpkg are not installed .* refused"
    ) as caught:
        hwnas.tasks.open("fashion_mnist")
    assert str(nothing_here / "home") in caught.value.hint
