"""What users can import is listed, found, documented and typed."""

from __future__ import annotations

import ast
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import typing
from typing import TYPE_CHECKING, Any

import pytest

import actorsched
from actorsched import options, signatures

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent.parent

# Where `Any` is the honest answer, and why.
HONEST_ANY = {
    "Runtime.spawn": "its overloads, for type checkers, are in `signatures`",
    "Runtime.run": "likewise",
    **dict.fromkeys(
        ("Backoff.replace", "Hosts.replace", "Mailbox.replace", "Retry.replace", "Supervise.replace"),
        "fields of any type, checked like those of a new one",
    ),
}


def imports_for_type_checkers() -> dict[str, str]:
    """The names that the face imports under TYPE_CHECKING, and the modules they come from."""
    tree = ast.parse((ROOT / "actorsched" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def public_members(owner: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class defines itself, or inherits from within the package."""
    for name, member in inspect.getmembers(owner):
        home = next((base for base in owner.__mro__ if name in vars(base)), owner)
        if name.startswith("_") or not home.__module__.startswith("actorsched"):
            continue
        if inspect.isroutine(member) or isinstance(member, property):
            yield name, member


def callables_of(name: str) -> Iterator[tuple[str, inspect.Signature]]:
    """The function, or the constructor, methods and properties of the class, with their signatures."""
    value = getattr(actorsched, name)
    found: list[tuple[str, Any]] = [(name, value)] if inspect.isfunction(value) else []
    if inspect.isclass(value):
        if inspect.isfunction(value.__init__) and value.__init__.__module__.startswith("actorsched"):
            found.append((name, value.__init__))
        for attribute, member in public_members(value):
            found.append((f"{name}.{attribute}", member.fget if isinstance(member, property) else member))
    for label, function in found:
        for overload in typing.get_overloads(function) or [function]:
            signature = signature_of(overload)
            if signature is not None:
                yield label, signature


def signature_of(function: Any) -> inspect.Signature | None:
    """None for what is not written in Python, such as the methods that msgspec makes."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


# --------------------------------------------------------------------------------------------------- the list


def test_every_public_name_is_listed_once() -> None:
    assert len(set(actorsched.__all__)) == len(actorsched.__all__)


def test_type_checkers_see_the_same_names_from_the_same_modules_as_the_program() -> None:
    homes = {name: f"actorsched.{home}" for home, names in actorsched._HOMES.items() for name in names}
    assert imports_for_type_checkers() == homes
    assert sorted(homes) == sorted(actorsched.__all__)


@pytest.mark.parametrize("name", actorsched.__all__)
def test_every_public_name_is_found(name: str) -> None:
    assert getattr(actorsched, name) is not None
    assert name in dir(actorsched)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'actorsched' has no attribute 'Runtine'"):
        getattr(actorsched, "Runtine")  # noqa: B009 - the checkers would refuse it


def test_every_public_error_is_under_the_base_but_the_one_that_interrupts() -> None:
    values = [getattr(actorsched, name) for name in actorsched.__all__]
    errors = {value for value in values if inspect.isclass(value) and issubclass(value, BaseException)}
    strange = {error for error in errors if not issubclass(error, actorsched.ActorschedError)}
    assert strange == {actorsched.Interrupted}, "it has to pass through `except Exception`"


# ---------------------------------------------------------------------------------------- documents and types


@pytest.mark.parametrize("name", actorsched.__all__)
def test_every_public_name_is_documented_with_its_public_members(name: str) -> None:
    value = getattr(actorsched, name)
    silent = [] if inspect.getdoc(value) else [name]
    if inspect.isclass(value):
        silent += [f"{name}.{member}" for member, found in public_members(value) if not inspect.getdoc(found)]
    assert not silent


@pytest.mark.parametrize("name", actorsched.__all__)
def test_every_parameter_and_result_has_a_type(name: str) -> None:
    untyped: list[str] = []
    for label, signature in callables_of(name):
        untyped += [
            f"{label}({parameter.name})"
            for position, parameter in enumerate(signature.parameters.values())
            if parameter.annotation is inspect.Parameter.empty
            and not (position == 0 and parameter.name in ("self", "cls"))
        ]
        if signature.return_annotation is inspect.Signature.empty:
            untyped.append(f"{label} -> ?")
    assert not untyped


@pytest.mark.parametrize("name", actorsched.__all__)
def test_any_stands_only_where_it_is_the_honest_answer(name: str) -> None:
    loose = [
        label
        for label, signature in callables_of(name)
        for annotation in [
            *(one.annotation for one in signature.parameters.values()),
            signature.return_annotation,
        ]
        if re.fullmatch(r"(typing\.)?Any( \| None)?", str(annotation)) and label not in HONEST_ANY
    ]
    assert not loose


def test_type_checkers_see_the_options_that_exist() -> None:
    assert set(signatures.TaskKeywordsWithArguments.__annotations__) == set(
        options.TaskOptions.__struct_fields__
    )
    assert set(signatures.ActorKeywordsWithArguments.__annotations__) == set(
        options.ActorOptions.__struct_fields__
    )


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(240)
def test_the_public_types_are_complete() -> None:
    # With --verifytypes pyright knows no --pythonpath: it asks the first `python` on the path.
    here = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    answer = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", "actorsched", "--ignoreexternal", "--outputjson"],
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PATH": here},
    )
    report = json.loads(answer.stdout)
    face = {f"actorsched.{home}.{name}" for home, names in actorsched._HOMES.items() for name in names}
    incomplete = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in report["typeCompleteness"]["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
        if any(symbol["name"] == name or symbol["name"].startswith(f"{name}.") for name in face)
        for diagnostic in symbol["diagnostics"]
    ]
    assert not incomplete
