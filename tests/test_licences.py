"""The licences of all installed dependencies permit use in closed and open projects."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

PERMISSIVE = re.compile(
    r"apache|\bmit\b|bsd|\bisc\b|psf|python software foundation|mozilla public|mpl-2|zlib|unlicense|hpnd|0bsd|expat",
    re.IGNORECASE,
)
LGPL = {"python-stdnum"}
"""Used as a library, unchanged."""
CUDA = ("nvidia-", "cuda-")
"""What torch's CUDA build brings, under NVIDIA's licence for redistribution."""


def licence(name: str) -> str:
    """The licence in the metadata of a package: SPDX expression, beginning of the text, and classifiers."""
    metadata = distribution(name).metadata
    classifiers = [line for line in metadata.get_all("Classifier", []) if "License" in line]
    return " ".join([metadata.get("License-Expression", ""), metadata.get("License", "")[:200], *classifiers])


def dependencies(name: str, extras: frozenset[str], seen: set[str]) -> Iterator[str]:
    """Names of a package and of all its installed dependencies."""
    if name in seen:
        return
    seen.add(name)
    yield name
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            found = re.sub(r"[-_.]+", "-", requirement.name).lower()
            try:
                distribution(found)
            except PackageNotFoundError:
                continue
            yield from dependencies(found, frozenset(requirement.extras), seen)


@pytest.mark.parametrize(
    "extra",
    ["", pytest.param("all", marks=pytest.mark.extras)],
)
def test_all_licences_are_permissive(extra):
    names = {"explain", "privacy", "onnx", "serve", "chinese"} if extra else set()
    found = {name: licence(name) for name in dependencies("elektron", frozenset(names), set())}
    assert {"torch", "transformers", "tokenizers"} <= set(found)
    assert {
        name: text
        for name, text in found.items()
        if not (PERMISSIVE.search(text) or name in LGPL or name.startswith(CUDA))
    } == {}
