"""Files of the field, read by those who know them: sktime, numpy, scipy and h5py."""

import difflib
import pathlib
import re
import tempfile
import zipfile
from typing import Any

import numpy as np

from ssltok.data._assemble import Part
from ssltok.data._reading import Reading, Refusal, choices, option
from ssltok.data._tables import LABELS, need

__all__ = ["named_parts", "read_arff", "read_arrays", "read_npy", "read_ts", "read_tsf"]

SHIPPED = ("GunPoint", "ItalyPowerDemand", "OSULeaf", "ArrowHead", "ACSF1", "BasicMotions",
           "JapaneseVowels")  # fmt: skip
FREQUENCIES = {
    "4_seconds": "4s", "minutely": "min", "10_minutes": "10min", "half_hourly": "30min",
    "hourly": "h", "daily": "D", "weekly": "W", "monthly": "MS", "quarterly": "QS", "yearly": "YS",
}  # fmt: skip


def named_parts(name: str, reading: Reading) -> list[Part]:
    """The training and the test part of a set that sktime ships or fetches."""
    library = need("sktime.datasets")
    parts = []
    for split in ("train", "test"):
        try:
            X, y = library.load_UCR_UEA_dataset(name, split=split, return_X_y=True)
        except Exception as error:  # whatever the library or its network raises
            near = difflib.get_close_matches(name, SHIPPED, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            message = (str(error).splitlines() or [""])[0]
            raise ValueError(
                f"load_dataset: {name!r} must be a file or a data set that sktime ships or can "
                f"fetch; got {type(error).__name__}: {message}{hint}"
            ) from error
        parts.append(_finished(_from_frame(X), list(y), reading))
    return parts


def read_npy(path: pathlib.Path, reading: Reading) -> Part:
    """One array."""
    with open(path, "rb") as stream:
        array = _whole_array(stream)
    return _arranged("the array", array, None, reading, plain=True)


def read_arrays(path: pathlib.Path, reading: Reading) -> list[Part]:
    """The arrays of an `.npz` or `.mat` file, of one part or two."""
    if path.suffix.lower() == ".npz":
        return _parts(_read_npz(path), reading, plain=True)
    return _parts(_read_mat(path), reading, plain=False)


def read_ts(path: pathlib.Path, reading: Reading) -> Part:
    """A `.ts` file; what its header promises is held against what it holds."""
    tags, rows = _ts_header(path)
    target = tags.get("@targetlabel", ["false"])[0] == "true"
    labelled = target or tags.get("@classlabel", ["false"])[0] == "true"
    if target and reading.label != "":
        raise Refusal(
            "labels must be classes; got numbers to predict (@targetLabel): "
            f"{choices(('label', ''))} to read the series without them"
        )
    load = need("sktime.datasets").load_from_tsfile_to_dataframe
    if target and tags.get("@timestamps", ["false"])[0] == "true":
        with tempfile.TemporaryDirectory() as folder:  # sktime knows classes beside times only
            copy = pathlib.Path(folder) / "copy.ts"
            copy.write_text(_with_classes(rows), encoding="utf-8")
            loaded = load(str(copy))
    else:
        loaded = load(str(path))
    frame, labels = (loaded[0], list(loaded[1])) if isinstance(loaded, tuple) else (loaded, None)
    if labelled and (labels is None or len(labels) != len(frame)):
        raise Refusal(f"every case must have a label; got {len(labels or [])} for {len(frame)}")
    if tags.get("@univariate", [""])[0] == "true" and frame.shape[1] != 1:
        raise Refusal(f"must have one channel (@univariate true); got {frame.shape[1]}")
    _check_classes(labels, [] if target else tags.get("@classlabel", [])[1:])
    if tags.get("@timestamps", [""])[0] == "true":
        _check_times(frame)
    series = _from_frame(frame)
    if tags.get("@equallength", [""])[0] == "true" and isinstance(series, list):
        sizes = sorted({one.shape[1] for one in series})
        raise Refusal(f"series must have one length (@equalLength true); got {sizes[:4]}")
    return _finished(series, labels, reading)


def read_arff(path: pathlib.Path, reading: Reading) -> Part:
    """An `.arff` file; the last attribute is the label where it is nominal."""
    attributes = []
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            if line.strip().lower().startswith("@attribute"):
                attributes.append(line.strip())
            elif line.strip().lower().startswith("@data"):
                break
    if not attributes:
        raise Refusal("must have attributes before its data; got none")
    nominal = re.search(r"\{(.*)\}\s*$", attributes[-1])
    word = (attributes[-1].split() + [""] * 2)[1].strip("'\"").lower()
    if nominal is None and word in LABELS:
        raise Refusal(f"labels must be classes; got numbers to predict, the attribute {word!r}")
    loaded = need("sktime.datasets").load_from_arff_to_dataframe(
        str(path), has_class_labels=nominal is not None
    )
    frame, labels = (loaded[0], list(loaded[1])) if nominal else (loaded, None)
    if nominal is not None:
        _check_classes(labels, [name.strip() for name in nominal[1].split(",")])
    series = _from_frame(frame)
    inside = [a for a in attributes if re.search(r"\b(numeric|real|integer)\s*$", a.lower())]
    sizes = {one.shape[-1] for one in series}
    if sizes != {len(inside)}:
        raise Refusal(f"series must have {len(inside)} samples, as attributes; got {sorted(sizes)}")
    return _finished(series, labels, reading)


def read_tsf(path: pathlib.Path, reading: Reading) -> Part:
    """A `.tsf` file: one channel each, of different lengths."""
    frame, about = need("sktime.datasets").load_tsf_to_dataframe(
        str(path), replace_missing_vals_with=float("nan"), return_type="default_tsf"
    )
    series = [np.asarray(values, dtype=np.float64)[None] for values in frame["series_value"]]
    times = None
    if len(series) == 1 and "start_timestamp" in frame and about["frequency"] in FREQUENCIES:
        times = need("pandas").date_range(
            frame["start_timestamp"].iloc[0], periods=series[0].shape[1],
            freq=FREQUENCIES[about["frequency"]],
        ).to_numpy()  # fmt: skip
    equal = len({one.shape for one in series}) == 1
    return Part(np.stack(series) if equal else series, None, times=times)


def _ts_header(path: pathlib.Path) -> tuple[dict[str, list[str]], list[str]]:
    rows = path.read_text(encoding="utf-8").splitlines()
    tags = {}
    for row in rows:
        words = row.strip().split(" ")
        if words[0].lower() == "@data":
            break
        if words[0].startswith("@"):
            tags[words[0].lower()] = [words[1].lower(), *words[2:]] if len(words) > 1 else []
    classes = [name for name in tags.get("@classlabel", [])[1:] if name]
    if len({name.lower() for name in classes}) < len(set(classes)):
        raise Refusal(f"classes must differ by more than their case; got {classes[:8]}")
    return {key: words or [""] for key, words in tags.items()}, rows


def _with_classes(rows: list[str]) -> str:
    """The same file with its targets as classes, which sktime reads beside timestamps."""
    start = next(n for n, row in enumerate(rows) if row.strip().lower() == "@data")
    targets = [row.rpartition(":")[2].strip().lower() for row in rows[start + 1 :] if row.strip()]
    for target in targets:
        float(target)
    tag = "@classLabel true " + " ".join(dict.fromkeys(targets))
    head = [tag if row.strip().lower().startswith("@targetlabel") else row for row in rows[:start]]
    return "\n".join([*head, *rows[start:]])


def _check_classes(labels: list[Any] | None, classes: list[str]) -> None:
    """Every label is one of the header's, as a text or as a number."""
    known = {_plain(name) for name in classes}
    for case, label in enumerate(labels or []):
        if known and str(label).lower() != "nan" and _plain(label) not in known:
            raise Refusal(
                f"labels must be of the header's classes {classes[:8]}; "
                f"got {str(label)[:40]!r} in case {case}"
            )


def _plain(name: Any) -> str | float:
    try:
        return float(name)
    except ValueError:
        return str(name).lower()


def _check_times(frame: Any) -> None:
    """The channels of a case are measured together, and evenly."""
    for case, row in enumerate(frame.itertuples(index=False)):
        clocks = [cell.index.to_numpy() for cell in row if len(cell)]
        if any(len(c) != len(clocks[0]) or (c != clocks[0]).any() for c in clocks[1:]):
            raise Refusal(f"channels must share their timestamps; got others in case {case}")
        steps = np.diff(clocks[0]) if clocks else np.zeros(0)
        if len(steps) and ((steps != steps[0]).any() or steps[0] <= steps[0] * 0):
            raise Refusal(
                f"timestamps must rise evenly; got {clocks[0][:4].tolist()} ... in case {case}"
            )


def _from_frame(frame: Any) -> Any:
    """Nested data frame to `(cases, channels, length)`, or to a list where lengths differ."""
    cases = [
        np.stack(_padded([np.asarray(cell, dtype=np.float64) for cell in row]))
        for row in frame.itertuples(index=False)
    ]
    if not cases:
        raise Refusal("must hold a series; got none")
    return np.stack(cases) if len({case.shape for case in cases}) == 1 else cases


def _padded(channels: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    longest = max(len(channel) for channel in channels)
    return [np.pad(c, (0, longest - len(c)), constant_values=np.nan) for c in channels]


def _finished(series: Any, labels: list[Any] | None, reading: Reading) -> Part:
    """A label NaN is none."""
    if labels is not None:
        labels = [None if str(label).lower() == "nan" else label for label in labels]
    if reading.label == "":
        labels = None
    return Part(series, labels)


def _whole_array(stream: Any) -> Any:
    """An array that takes up all of a stream, whose checksum is thereby compared."""
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise Refusal(f"must end with its array; got more after shape {array.shape}")
    return array


def _read_npz(path: pathlib.Path) -> dict[str, Any]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as stream:
                arrays[name.removesuffix(".npy")] = _whole_array(stream)
    return arrays


def _read_mat(path: pathlib.Path) -> dict[str, Any]:
    try:
        import scipy.io

        loaded = scipy.io.loadmat(path)
    except NotImplementedError:  # MATLAB 7.3 writes HDF5, its axes the other way round
        with need("h5py").File(path, "r") as file:
            loaded = {key: value[()].T for key, value in file.items() if hasattr(value, "shape")}
    return {key: value for key, value in loaded.items() if not key.startswith("__")}


def _parts(arrays: dict[str, Any], reading: Reading, *, plain: bool) -> list[Part]:
    names = sorted(arrays)
    label = reading.label
    if reading.value is None and "X_train" in arrays:
        pairs = [("X_train", "y_train"), ("X_test", "y_test")]
        return [
            _arranged(x, arrays[x], None if label == "" else arrays.get(y), reading, plain=plain)
            for x, y in pairs
            if x in arrays
        ]
    shaped = [key for key in names if arrays[key].ndim > 1 and min(arrays[key].shape) > 1]
    value = reading.value or ("X" if "X" in arrays else shaped[0] if len(shaped) == 1 and not plain
                              else None)  # fmt: skip
    if value is None:
        raise Refusal(
            f"must hold X_train or X; got {names}"
            + (f": {choices(('value', names[0]))}, if that holds the series" if names else "")
        )
    for role, name in (("value", value), ("label", label)):
        if name and name not in arrays:
            raise Refusal(f"{role} must be one of the arrays {names}; got {name!r}")
    y = None if label == "" else arrays.get(label or "y")
    return [_arranged(value, arrays[value], y, reading, plain=plain)]


def _arranged(name: str, array: Any, y: Any, reading: Reading, *, plain: bool) -> Part:
    """An array as series. A matrix of MATLAB's has no axis that is known to be time."""
    if 0 in array.shape:
        raise Refusal(f"{name} must hold series, each of a sample or more; got {array.shape}")
    labels = None
    if y is not None:
        flat = y.reshape(-1) if y.ndim == 2 and 1 in y.shape else y
        labels = flat.tolist()
    if array.ndim == 2 and reading.layout is None and not plain and labels is None:
        raise Refusal(
            f"a row must be a series or a time, and a matrix of {array.shape} can be either: "
            f"{choices(('layout', 'series_in_rows'), ('layout', 'time_in_rows'))}"
        )
    axes = {
        "series_in_rows": (2, 3),
        "time_in_rows": (1, 2),
        "channels_first": (3,),
        "channels_last": (3,),
    }
    if array.ndim == 1 and reading.layout is None:
        raise Refusal(
            f"must hold series of some cases; got one axis, of {len(array)} samples: "
            f"{choices(('layout', 'time_in_rows'))} if that is one long series"
        )
    if reading.layout is not None and array.ndim not in axes.get(reading.layout, ()):
        raise Refusal(f"an array of {array.shape} has no {option('layout', reading.layout)}")
    if reading.layout == "time_in_rows":
        array = array.T[None] if array.ndim == 2 else array[None, None]
    elif reading.layout == "channels_last":
        array = array.swapaxes(1, 2)
    return Part(array, labels)
