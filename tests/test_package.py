"""The package as a whole: cheap to import, typed, one version."""

import importlib.metadata
import subprocess
import sys
from importlib import resources

import sfumato

#: Packages whose own modules are built on torch's classes; the package itself loads them when they are asked for.
BUILT_ON_TORCH = (
    "sfumato.training.error_feedback.",
    "sfumato.synthesis.relaxed.",
    "sfumato.synthesis.generator.",
    "sfumato.federation.shared_randomness.",
    "sfumato.federation.hypernetwork.",
    "sfumato.federation.supermask.",
    "sfumato.attacks.gradient_inversion.",
)
HEAVY = ("torch", "transformers", "diffusers", "flwr", "lifelines", "matplotlib", "duckdb", "pyspark", "polars")


def test_import_brings_no_heavy_library():
    code = f"import sys, sfumato; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_brings_a_library_of_an_extra_that_trains_or_federates():
    """A family may use them inside functions; importing it must not."""
    code = f"""
import importlib, pkgutil, sys, sfumato
for module in pkgutil.walk_packages(sfumato.__path__, "sfumato."):
    if not module.name.endswith("__main__") and not module.name.startswith({BUILT_ON_TORCH!r}):
        importlib.import_module(module.name)
print([name for name in ("torch", "opacus", "transformers", "diffusers", "flwr") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_alone_imports_every_module_and_lists_its_studies():
    """Without any extra: what an installation by `make demo` has."""
    code = (
        f"BUILT_ON_TORCH = {BUILT_ON_TORCH!r}"
        + """
import importlib, importlib.abc, pkgutil, sys
EXTRAS = (
    "duckdb", "sqlglot", "psycopg", "polars", "pyspark", "sksurv", "statsmodels", "mlxtend", "numba", "torch", "opacus",
    "flwr", "skimage", "transformers",
)
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import sfumato
for module in pkgutil.walk_packages(sfumato.__path__, "sfumato."):
    if not module.name.endswith("__main__") and not module.name.startswith(BUILT_ON_TORCH):
        importlib.import_module(module.name)
from sfumato.cli import main
sys.argv = ["sfumato", "study", "list"]
main()
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dp-kaplan-meier" in done.stdout


def test_the_version_comes_from_one_place():
    assert importlib.metadata.version("sfumato") == sfumato.__version__


def test_it_is_typed_and_exports_what_it_names():
    assert resources.files("sfumato").joinpath("py.typed").is_file()
    assert all(hasattr(sfumato, name) for name in sfumato.__all__)
