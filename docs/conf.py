"""Sphinx settings. Build from the root: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "exlab-store"
release = metadata.version("exlab-store")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]  # pages show parts of the examples
html_theme = "furo"
html_title = f"exlab-store {release}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Docstrings name objects in single backticks, as in `Store.update`.
default_role = "py:obj"
nitpicky = True

# Types are named as in the source: most are imported under TYPE_CHECKING, so they cannot be evaluated.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Nothing here needs the network, so the standard library's and other packages' names are no links.
_FOREIGN = r"(?:typing|collections\.abc|os|types|datetime|pathlib|msgspec|pluggy|asyncio|threading)\.[\w.]+"
_ABSTRACT = (
    "AbstractAsyncContextManager AbstractContextManager Any AsyncGenerator Callable Hashable Iterable Iterator "
    "Literal Mapping Path PurePosixPath Self Sequence Struct TracebackType datetime"
)
# Type variables, short names of a few words and enumerations that have no page of their own.
_INTERNAL = r"CodecName|OnCorrupt|OnMissing|Position|D|M|T|_P|_R|.*\.D|_Expect|.*\._Expect\.\w+"
nitpick_ignore_regex = [
    # A type variable, and what a recording of a disk is made of.
    (r"py:class", r"exlab_store\.testing\.crash\.power_cut\.T|BlockLog"),
    (r"py:.*", _FOREIGN),
    (r"py:.*", _INTERNAL),
    (r"py:.*", "|".join(_ABSTRACT.split())),
    (r"py:.*", "|".join(re.escape(name) for name in dir(builtins))),
]


def _public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> Any:
    """Finds what a docstring names by the module that defines it, under the public name it is documented as."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    short = re.sub(r"^exlab_store\.(?:documents\.)?(?:[a-z_]+\.)?(?=[A-Z_a-z])", "", node["reftarget"])
    for prefix in (
        "exlab_store.",
        "exlab_store.documents.",
        "exlab_store.hookspecs.",
        "exlab_store.backend.",
        "exlab_store_fsspec.",
        "exlab_store_postgresql.",
        "exlab_store_s3.",
        "exlab_store_smb.",
        "exlab_store_sftp.",
    ):
        if prefix + short in domain.objects:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", prefix + short, node, contnode)
    return None


# Values that are documented under a public name and described where they are defined.
_DEFINED_IN = {
    "exlab_store.ABSENT": "exlab_store.model",
    "exlab_store.ANY": "exlab_store.model",
    "exlab_store.DocumentLocation": "exlab_store.opening.locations",
    "exlab_store.Expectation": "exlab_store.model",
    "exlab_store.Version": "exlab_store.model",
}


def _docstring(_app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
    if name in _DEFINED_IN:
        described = ModuleAnalyzer.for_module(_DEFINED_IN[name]).find_attr_docs()
        lines[:] = described["", name.rpartition(".")[2]]
    # napoleon would take what stands before a colon for a type; no docstring here names a type.
    for number, line in enumerate(lines):
        first_of_value = number == 0 and what in {"data", "property"}
        if first_of_value or (number and lines[number - 1].strip() == "Returns:"):
            lines[number] = line.replace(": ", " – ")


def _signature(*event: Any) -> tuple[str | None, str | None]:
    *_, signature, returns = event
    if signature is not None:
        # A pattern for times is text, and a factory of dicts makes an empty one.
        signature = re.sub(r"(?:typing\.)?Annotated\[str, (?:msgspec\.)?Meta\(pattern='.*?'\)\]", "str", signature)
        signature = signature.replace("<factory>", "{}")
    return signature, returns


class CommandHelp(SphinxDirective):
    """``{command-help} catalogue show``: what ``exlab-store catalogue show --help`` prints."""

    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {}

    def run(self) -> list[nodes.Node]:
        """Runs the command of the package that is being documented."""
        command = [sys.executable, "-m", "exlab_store.cli", *"".join(self.arguments).split(), "--help"]
        environment = os.environ | {"COLUMNS": "80", "PYTHONUTF8": "1"}
        text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        return [nodes.literal_block(text, text.rstrip(), language="text")]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("command-help", CommandHelp)
    app.connect("autodoc-process-docstring", _docstring, priority=1)  # before napoleon's, which has 500
    app.connect("autodoc-process-signature", _signature)
    app.connect("missing-reference", _public_name)
