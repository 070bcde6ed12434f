"""Every package and every public name of the installed wheel, all extras there."""

import importlib
import pathlib
import pkgutil
import sys

import ssltok

assert pathlib.Path(ssltok.__file__).is_relative_to(sys.prefix), ssltok.__file__
packages = sorted(
    info.name for info in pkgutil.iter_modules(ssltok.__path__) if not info.name.startswith("_")
)
names = 0
for package in packages:
    module = getattr(ssltok, package)
    for name in module.__all__:
        getattr(module, name)
        names += 1
for info in pkgutil.walk_packages(ssltok.__path__, "ssltok."):
    if not info.name.endswith("__main__"):
        importlib.import_module(info.name)
print(f"{len(packages)} packages, {names} public names, every file")
