"""Pictures of series, tokens, draws, scores and features, each drawn into an axis of yours.

The functions import no matplotlib: whoever hands over an axis has it. It comes with the extra
`pipelines`, or by itself.
"""

from ssltok.plots._anomaly import plot_anomaly
from ssltok.plots._embedding import plot_embedding
from ssltok.plots._imputation import plot_imputation
from ssltok.plots._samples import plot_samples
from ssltok.plots._tokens import plot_tokens

__all__ = [
    "plot_anomaly",
    "plot_embedding",
    "plot_imputation",
    "plot_samples",
    "plot_tokens",
]
