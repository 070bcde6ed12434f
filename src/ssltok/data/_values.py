"""Numbers of one series as float64, whatever type holds them: used rightly, or refused."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssltok.data._labels import is_missing

__all__ = ["as_float64", "as_numpy"]

Floats = NDArray[np.float64]
REFUSED = {
    "c": "complex numbers; give real and imaginary parts as two channels",
    "M": "times; give what was measured, and the times elsewhere",
    "m": "spans of time; give them in a unit, as numbers",
    "U": "texts; turn them into numbers first",
    "S": "texts; turn them into numbers first",
    "V": "records; give each field as a channel",
}
SPREAD_BITS = 24  # of the spread: what float32 holds


def as_numpy(who: str, tensor: Tensor) -> np.ndarray[Any, Any]:
    """A tensor as an array of the same numbers.

    Args:
        who: Who asks, for the error's text.
        tensor: Of any device and dtype.

    Returns:
        The array; small floats as float32.

    Raises:
        TypeError: If it is sparse, quantised, without data, or complex.
    """
    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        if tensor.is_floating_point() and tensor.element_size() < 4:
            tensor = tensor.float()
        return tensor.numpy()
    except (TypeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise TypeError(
            f"{who}: tensors must be dense and hold numbers (x.to_dense() may help); "
            f"got {tensor.dtype}, {tensor.layout} on {tensor.device}"
        ) from error


def as_float64(who: str, place: str, item: Any) -> Floats:
    """Numbers as float64, NaN where they are missing: masked, None, NaN, NA.

    Args:
        who: Who asks, for the error's text.
        place: What holds them, for the error's text.
        item: An array, masked array, tensor, or sequence of numbers.

    Returns:
        The numbers, in the shape they came in; never the memory they came in.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If float64 does not hold them.
    """
    if isinstance(item, Tensor):
        item = as_numpy(who, item)
    if hasattr(item, "tocsr") or hasattr(item, "todense"):
        raise TypeError(
            f"{who}: {place} must be dense; got sparse {type(item).__name__}; use .toarray()"
        )
    masked = np.ma.getmaskarray(item) if isinstance(item, np.ma.MaskedArray) else None
    try:
        array = np.ma.getdata(item) if masked is not None else np.asarray(item)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{who}: {place} must hold numbers; got {error}") from error
    if array.dtype.kind in REFUSED:
        raise TypeError(f"{who}: {place} must hold numbers; got {REFUSED[array.dtype.kind]}")
    if array.dtype.kind == "O":
        known = np.zeros(array.shape, bool) if masked is None else masked
        floats = _from_objects(who, place, array, known)
    else:
        floats = array.astype(np.float64)
    if masked is not None:
        floats[masked] = np.nan
    _check_held(who, place, array, floats)
    return floats


def _from_objects(who: str, place: str, array: Any, masked: NDArray[np.bool_]) -> Floats:
    floats = np.full(array.shape, np.nan)
    for index in np.ndindex(array.shape):
        value = array[index]
        if masked[index] or is_missing(value):
            continue
        if isinstance(value, Tensor) and value.ndim == 0:
            value = value.item()
        # Decimal is a Number and not Real; complex is a Number too
        if not isinstance(value, numbers.Number | np.bool_) or isinstance(
            value, complex | np.complexfloating
        ):
            inside = isinstance(value, np.ndarray | Tensor | list | tuple)
            what = "a series inside" if inside else repr(value)
            raise TypeError(
                f"{who}: {place} must hold numbers; got {what} ({type(value).__name__})"
            )
        floats[index] = float(value)  # type: ignore[arg-type]
        if isinstance(value, numbers.Integral) and int(floats[index]) != int(value):
            raise ValueError(_too_long(who, place, value))
    return floats


def _check_held(who: str, place: str, array: Any, floats: Floats) -> None:
    """Refuse what float64 rounds: long integers, and long floats to less than their spread."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind in "iu" and size == 8 and array.size:
        # float(2**63) is no int64: compare as Python does, and only where it can differ
        for value in array[np.abs(floats) >= 2.0**53].tolist():
            if int(float(value)) != value and not np.isnan(value):
                raise ValueError(_too_long(who, place, value))
    elif kind == "f" and size > 8 and array.size:
        lost = np.abs(array - floats.astype(array.dtype))
        rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
        with np.errstate(invalid="ignore"):
            spread = np.fmax.reduce(rows, axis=1) - np.fmin.reduce(rows, axis=1)
            worst = np.fmax.reduce(lost.reshape(rows.shape), axis=1)
            if (worst > spread * 2.0**-SPREAD_BITS).any() and (spread > 0).any():
                raise ValueError(
                    f"{who}: {place} must hold numbers that float64 tells apart; got "
                    f"{array.dtype} numbers that differ beyond it; subtract their level"
                )


def _too_long(who: str, place: str, value: Any) -> str:
    return (
        f"{who}: {place} must hold numbers that float64 holds, integers up to 2**53 among them; "
        f"got {value}"
    )
