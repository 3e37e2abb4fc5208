"""How Sphinx builds the documentation: `nox -s docs`, where every warning is an error."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from types import TracebackType
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import actorsched
import actorsched.actor
import actorsched.messages
import actorsched.task
from actorsched._system.actor_cell import ActorCell
from actorsched._system.task import TaskActor

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from diagrams import drawn

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "actorsched"
author = "The actorsched authors"
copyright = "2026, The actorsched authors"
release = installed_version("actorsched")
version = release.rpartition(".")[0]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"actorsched {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

# The signature stays readable, and the types stand beside the words about each parameter.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Docstrings are Markdown at heart: `name` in single backticks is code.
default_role = "code"

# Sphinx looks up the types of a Struct's fields, also those that its module imports for type checkers only.
vars(actorsched.actor)["ActorCell"] = ActorCell
vars(actorsched.task)["TaskActor"] = TaskActor
vars(actorsched.messages).update(Mapping=Mapping, TracebackType=TracebackType)

# References are checked strictly (`--nitpicky`): a public name must lead to its description. What is defined
# outside of actorsched, what is private to it, and type variables have none here.
nitpick_ignore_regex = [
    ("py:.*", r"(?!actorsched\.(?!_)).*"),
    ("py:class", r"actorsched\.(\w+\.)*([A-Z][a-z0-9]?|In|Out|\w+_co|\w+_contra)"),
]


def leads_to_the_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement
) -> Element | None:
    """Leads from `actorsched.task.TaskRef`, as annotations say, to the public `actorsched.TaskRef`."""
    name = node["reftarget"].rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in actorsched.__all__:
        return None
    source = node.get("refdoc", env.docname)
    target = f"actorsched.{name}"
    return env.domains["py"].resolve_xref(env, source, app.builder, "obj", target, node, content)


class Diagram(SphinxDirective):
    """A block of Mermaid text, drawn when the page is built: readers need no JavaScript, and no network."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The picture."""
        try:
            picture = drawn("\n".join(self.content))
        except ValueError as error:
            raise self.error(str(error)) from error
        return [nodes.raw("", f'<div style="overflow-x: auto">{picture}</div>', format="html")]


def setup(app: Sphinx) -> None:
    """Called by Sphinx when it has read this file."""
    app.add_directive("mermaid", Diagram)
    app.connect("missing-reference", leads_to_the_public_name)
