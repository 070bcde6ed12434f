"""Between series and spectrograms, and between the user's units and the model's."""

from ssltok.signal._band_transform import STFTBands, Waveform
from ssltok.signal._bands import Bands, merge_bands, split_bands
from ssltok.signal._patch_targets import patch_spectrum, slope_histogram
from ssltok.signal._scale import ChannelScaler, GlobalScaler, Scaled, SeriesScaler
from ssltok.signal._stft import ISTFT, STFT

__all__ = [
    "ISTFT",
    "STFT",
    "Bands",
    "ChannelScaler",
    "GlobalScaler",
    "STFTBands",
    "Scaled",
    "SeriesScaler",
    "Waveform",
    "merge_bands",
    "patch_spectrum",
    "slope_histogram",
    "split_bands",
]
