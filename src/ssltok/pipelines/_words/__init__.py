"""How words and numbers become parts: configs, presets, the caller's parts, and what builds."""
