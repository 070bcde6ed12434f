"""Between series and spectrograms, and between the user's units and the model's."""

from ssltok.signal._band_transform import STFTBands, Waveform
from ssltok.signal._bands import Bands, merge_bands, split_bands
from ssltok.signal._gaussian_fill import GaussianFill, gaussian_fill
from ssltok.signal._line_fill import LineFill, line_fill
from ssltok.signal._patch_targets import patch_spectrum, slope_histogram
from ssltok.signal._patch_texture import PatchTexture
from ssltok.signal._revin import RevIN
from ssltok.signal._scale import ChannelScaler, GlobalScaler, Scaled, SeriesScaler
from ssltok.signal._stft import ISTFT, STFT
from ssltok.signal._value_codes import ValueCodes, value_codes, value_series

__all__ = [
    "ISTFT",
    "STFT",
    "Bands",
    "ChannelScaler",
    "GaussianFill",
    "GlobalScaler",
    "LineFill",
    "PatchTexture",
    "RevIN",
    "STFTBands",
    "Scaled",
    "SeriesScaler",
    "ValueCodes",
    "Waveform",
    "gaussian_fill",
    "line_fill",
    "merge_bands",
    "patch_spectrum",
    "slope_histogram",
    "split_bands",
    "value_codes",
    "value_series",
]
