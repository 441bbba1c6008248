from __future__ import annotations

import collections
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from episodes.images import restricted_pickle
from episodes.images.restricted_pickle import load_arrays
from episodes.types import DataError

IMAGES = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3) + np.uint8(200)  # bytes beyond ASCII


class _Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "cache.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_back_arrays_and_plain_values(protocol: int, tmp_path: Path) -> None:
    content = {
        "image_data": IMAGES,
        "fortran": np.asfortranarray(IMAGES),
        "class_dict": {"n01": [0, 1], "n02": np.array([3, 4]), "n03": (5, np.int64(6))},
        "big_endian": np.array([1, 2], ">i4"),
        "names": np.array(["n01", "n02"]),
        "rest": [None, True, 1.5, b"", b"bytes", np.float32(0.5), np.zeros(0, np.uint8)],
    }
    loaded = load_arrays(_file(tmp_path, pickle.dumps(content, protocol)))
    assert isinstance(loaded, dict)
    np.testing.assert_array_equal(loaded["image_data"], IMAGES)
    np.testing.assert_array_equal(loaded["fortran"], IMAGES)
    assert loaded["image_data"].dtype == np.uint8
    assert loaded["class_dict"]["n01"] == [0, 1]
    assert loaded["class_dict"]["n02"].tolist() == [3, 4]
    assert loaded["class_dict"]["n03"] == (5, 6)
    assert loaded["big_endian"].tolist() == [1, 2]
    assert loaded["names"].tolist() == ["n01", "n02"]
    assert loaded["rest"][:6] == [None, True, 1.5, b"", b"bytes", 0.5]
    assert loaded["rest"][6].shape == (0,)


def python_2_pickle(images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], classes: dict[str, list[int]]) -> bytes:
    """What Python 2.7 and NumPy 1 write at protocol 2: text and pixels alike as byte strings."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = (
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + number(-1) * 2 + b"K\x00tb"
    )
    raw = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += (
        b"(K\x01(" + b"".join(map(number, images.shape)) + b"t" + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw
    )
    rows = b"".join(text(name.encode()) + b"](" + b"".join(map(number, rows)) + b"e" for name, rows in classes.items())
    return b"\x80\x02}(" + text(b"image_data") + array + b"tb" + text(b"class_dict") + b"}(" + rows + b"uu."


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    content = python_2_pickle(IMAGES, {"n01": [0], "n02": [1]})
    expected = pickle.loads(content, encoding="latin1")  # the file itself is what Python takes for a pickle
    np.testing.assert_array_equal(expected["image_data"], IMAGES)
    loaded = load_arrays(_file(tmp_path, content))
    assert isinstance(loaded, dict)
    np.testing.assert_array_equal(loaded["image_data"], IMAGES)
    assert loaded["class_dict"] == {"n01": [0], "n02": [1]}


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = _file(tmp_path, pickle.dumps({"image_data": _Calls(os.system, f"touch {trace}")}, protocol))
    with pytest.raises(
        DataError, match=r"cache\.pkl is refused: it holds (posix|nt)\.system, and only arrays"
    ) as caught:
        load_arrays(path)
    assert not trace.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(_Calls(eval, "1"), id="eval"),
        pytest.param(_Calls(np.load, "x.npy"), id="another NumPy function"),
        pytest.param(_Calls(getattr, "text", "upper"), id="getattr"),
        pytest.param(collections.Counter("ab"), id="a class of the standard library"),
        pytest.param(np.array([{}, None]), id="an array of objects"),
        pytest.param(np.zeros(2, [("a", "u1")]), id="an array of records"),
        pytest.param(np.array(["2020-01-01"], "M8[D]"), id="an array of dates"),
        pytest.param({1, 2}, id="a set"),
        pytest.param(np.dtype("u1"), id="a bare dtype"),
        pytest.param(np.ndarray, id="a bare class"),
    ],
)
def test_whatever_is_neither_array_nor_plain_value_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is refused: it holds"):
        load_arrays(_file(tmp_path, pickle.dumps([value], 2)))


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"cnumpy\ndtype\n}U\x04codeU\x01xsb.", id="setting an attribute of a stand-in"),
        pytest.param(b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00rot_13tR.", id="another codec"),
        pytest.param(b"cnumpy\nndarray.tofile\n.", id="a method by its dotted name"),
        pytest.param(b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02u8\x85RU\x01a\x86R.", id="too few bytes"),
    ],
)
def test_tricks_with_the_stand_ins_are_refused(program: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is refused: it holds"):
        load_arrays(_file(tmp_path, b"\x80\x02" + program))


def test_a_list_that_holds_itself_is_refused_instead_of_followed_forever(tmp_path: Path) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(DataError, match="is not a whole pickle"):
        load_arrays(_file(tmp_path, pickle.dumps(endless)))


def test_nested_repetition_is_resolved_in_no_time(tmp_path: Path) -> None:
    nested: list[object] = [1]
    for _ in range(60):  # 2**60 items when followed naively
        nested = [nested, nested]
    loaded = load_arrays(_file(tmp_path, pickle.dumps(nested)))
    assert isinstance(loaded, list)
    assert loaded[0] is loaded[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "is a web page, not a pickle"),
        (b"\n\n  <html>", "is a web page, not a pickle"),
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (pickle.dumps({"image_data": IMAGES})[:-20], "is not a whole pickle"),
        (b"PK\x03\x04 something else", "is not a whole pickle"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60), "is not a whole pickle"),
    ],
)
def test_a_file_that_is_no_pickle_is_explained_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_arrays(_file(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*absent\.pkl: No such file"):
        load_arrays(tmp_path / "absent.pkl")


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"\x80\x02Nr\xff\xff\xff\x1f.", id="a memo of half a thousand million places"),
        pytest.param(b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00.", id="a terabyte of bytes that are not there"),
        pytest.param(b"\x80\x02}" + b"N" + b"2\x86" * 60 + b"Ns.", id="a key that takes years to be hashed"),
        pytest.param(b"(" + b"N" + b"2\x86" * 60 + b"Nd.", id="another way to make it a key"),
        pytest.param(b"\x80\x02}(" + b"N" + b"2\x86" * 60 + b"Nu.", id="a third way"),
        pytest.param(b"\x80\x04\x8f(" + b"N" + b"2\x86" * 60 + b"\x90.", id="a set of it"),
    ],
)
@pytest.mark.timeout(60)
def test_a_few_bytes_take_neither_all_memory_nor_all_time(program: bytes, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        load_arrays(_file(tmp_path, program))
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017 - that of the memo may be read: it is None
    finally:
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


def test_a_pickle_beyond_the_ceiling_is_refused_with_the_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restricted_pickle, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="more than the 10 bytes that are read of a pickle"):
        load_arrays(_file(tmp_path, pickle.dumps([1] * 20)))
