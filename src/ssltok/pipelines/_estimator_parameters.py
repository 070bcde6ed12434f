"""The parameters of `SSLTokenizer` as scikit-learn sees them: also the numbers of a preset."""

import dataclasses
from typing import Any, Self

from sklearn.base import BaseEstimator

from ssltok.data import SeriesSet, SourceSet
from ssltok.pipelines._auto._plan import Plan, plan_for
from ssltok.pipelines._stages import teller
from ssltok.pipelines._words._config import AutoConfig, Config
from ssltok.pipelines._words._parts import Parts
from ssltok.pipelines._words._presets import PRESETS, demo, resolve_preset
from ssltok.pipelines._words._values import nested_parameters, replace_nested
from ssltok.training import accelerated

__all__ = ["PresetEstimator"]

PARTS = (
    "bands", "encoder", "quantizer", "decoder", "objective", "augment", "pool", "compared",
    "quantized", "mask", "token_loss", "everywhere", "prior", "schedule", "order", "sampling",
    "guidance", "settle", "fill",
)  # fmt: skip


class PresetEstimator(BaseEstimator):  # type: ignore[misc]
    """An estimator with a `preset`, whose numbers are parameters too, and with parts."""

    preset: str | AutoConfig | Config | Parts
    parts: Parts | None
    progress: bool
    verbose: bool | int | None
    cpu: bool

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002  as sklearn
        """Parameters by name; `deep` adds the preset's, such as `preset__tokenizer__dim`."""
        parameters: dict[str, Any] = super().get_params(deep=False)
        return parameters | (nested_parameters(self._config()) if deep and self._nests() else {})

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters, also nested ones such as `preset__tokenizer__dim`.

        Raises:
            ValueError: If a name is unknown; near ones are named. If the preset is `Parts`, which
                have no numbers.
        """
        nested = {k: v for k, v in parameters.items() if k.startswith("preset__")}
        super().set_params(**{k: v for k, v in parameters.items() if k not in nested})
        if nested and isinstance(self.preset, Parts):
            raise ValueError(
                f"set_params: the preset must be a name or a Config where its numbers are set "
                f"(parts=Parts(...) goes beside it); got Parts and {sorted(nested)}"
            )
        auto = AutoConfig() if _is_auto(self.preset) else self.preset
        if nested and isinstance(auto, AutoConfig):
            names = {name.removeprefix("preset__"): value for name, value in nested.items()}
            direct = {k: names.pop(k) for k in ("minutes", "explained") if k in names}
            replace_nested(Config(), {f"preset__{k}": v for k, v in names.items()})  # known ones?
            self.preset = dataclasses.replace(auto, **direct, given={**auto.given, **names})
        elif nested:
            self.preset = replace_nested(self._config(), nested)
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may ask of it: series, one or several channels, with missing values."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.non_deterministic = False
        return tags

    def _nests(self) -> bool:
        """Whether the preset has numbers; a word that is no preset is refused by `fit`."""
        return isinstance(self.preset, Config) or (
            isinstance(self.preset, str) and self.preset in (*PRESETS, "ssltok")
        )

    def _config_for(self, data: SeriesSet | SourceSet, classes: int) -> Config:
        """The config of the preset, or what `auto` makes of the training series."""
        self.__dict__.pop("plan_", None)
        preset = AutoConfig() if _is_auto(self.preset) else self.preset
        if not isinstance(preset, AutoConfig):
            return self._config()
        if isinstance(data, SourceSet):
            tell = teller(progress=bool(self.progress), verbose=self.verbose)
            with accelerated("no", cpu=self.cpu):  # the processes share the pass
                data.measure(progress=bool(self.progress), tell=tell)
        config, plan = plan_for(preset, data, classes=classes)
        if plan is not None:
            self.plan_: Plan = plan
        return config

    def _config(self) -> Config:
        preset = demo() if isinstance(self.preset, Parts) else self.preset
        if isinstance(preset, AutoConfig):
            preset = "auto"  # whose numbers only the data can give
        return resolve_preset("SSLTokenizer", preset)

    def _parts(self) -> Parts:
        keywords = Parts(**{name: getattr(self, name) for name in PARTS})
        for others in (self.parts, self.preset):
            if isinstance(others, Parts):
                keywords = keywords.over(others)
        return keywords


def _is_auto(preset: object) -> bool:
    return isinstance(preset, str) and preset == "auto"
