"""Code of a program with typed documents. A line that ends with "# refused" must not type-check; the others must."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from exlab_store import Store
from exlab_store.documents import DocumentKind, OfflineCatalogue, VersionedDocument, read_catalogue, write_catalogue


class Recipe(VersionedDocument, frozen=True):
    schema_version: str = "1.0"
    steps: int = 0


class Label(VersionedDocument, frozen=True):
    schema_version: str = "1.0"


RECIPES = DocumentKind(Recipe, "1.0")


def keeps(store: Store, path: Path) -> None:
    assert_type(RECIPES, DocumentKind[Recipe])
    assert_type(RECIPES.read(store / "r.json"), Recipe)
    assert_type(RECIPES.read(path).steps, int)
    RECIPES.write("smb://nas01/lab/r.json", Recipe(steps=3))
    RECIPES.update(path, lambda current: Recipe(steps=current.steps + 1 if current else 1))
    RECIPES.read(7)  # refused
    RECIPES.read(store)  # refused: a store holds documents, and is none
    RECIPES.write(path, Label())  # refused
    RECIPES.update(path, lambda current: Label())  # refused
    RECIPES.read(path).stages  # refused
    DocumentKind(dict, "1.0")  # refused


async def awaits(path: Path) -> None:
    assert_type(await RECIPES.aread(path), Recipe)
    RECIPES.aread(path).steps  # refused: it is to be awaited


def publishes(path: Path, catalogue: OfflineCatalogue) -> None:
    write_catalogue(path, catalogue)
    assert_type(read_catalogue(path, expected_endpoint="https://lims.example"), OfflineCatalogue)
    read_catalogue(path)  # refused: the catalogue of another LIMS is no use
    write_catalogue(path, catalogue.projects)  # refused
