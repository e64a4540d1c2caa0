"""Documents in YAML and TOML: the rules of JSON, and the comments of whoever wrote them stay."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from exlab_store import ConfigError
from exlab_store.documents import (
    DocumentInvalid,
    DocumentKind,
    SchemaMajorMismatchError,
    SchemaVersionMissing,
    VersionedDocument,
)

if TYPE_CHECKING:
    from exlab_store import Store, StorePath


class Lamp(msgspec.Struct):
    name: str
    power_mw: float = 5.0


class Settings(VersionedDocument, kw_only=True):
    schema_version: str = "1.1"
    label: str
    lamps: list[Lamp] = msgspec.field(default_factory=list)
    limits: dict[str, int] = msgspec.field(default_factory=dict)
    operator: str | None = None
    seen_at: str = ""


KINDS = {codec: DocumentKind(Settings, "1.1", codec=codec) for codec in ("json", "yaml", "toml")}  # type: ignore[arg-type]

SOME = Settings(
    label="µ: yes # no",
    lamps=[Lamp("left"), Lamp("right", 7.5)],
    limits={"a b": 1, "c": 2},
    seen_at="2026-05-05T14:23:00Z",
)

YAML = b"""\
# Written by hand
schema_version: "1.0"   # do not touch
label: 'Confocal'       # what people call it

lamps:
- name: left            # the old one
  power_mw: 1.50        # milliwatts
  serial: 0x1F
- name: right
limits: {a: 1, b: 2}    # per day
seen_at: 2026-05-05T14:23:00Z
site: B7                # unknown to the program
"""

TOML = b"""\
# Written by hand
schema_version = "1.0"   # do not touch
label = 'Confocal'       # what people call it
seen_at = 2026-05-05T14:23:00Z
site = "B7"              # unknown to the program
limits = {a = 1, b = 2}  # per day

[[lamps]]
name = "left"            # the old one
power_mw = 1.50          # milliwatts
serial = 0x1F

[[lamps]]
name = "right"
"""

STORED = {"yaml": YAML, "toml": TOML}


@pytest.fixture(params=["yaml", "toml"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(codec: str) -> DocumentKind[Settings]:
    return KINDS[codec]


@pytest.fixture
def document(memory: Store) -> StorePath:
    return memory / "settings"


def test_what_is_written_is_read(kind: DocumentKind[Settings], document: StorePath) -> None:
    assert kind.create(document, SOME) == SOME
    assert kind.read(document) == SOME
    assert kind.write(document, SOME) == SOME


def test_coroutines_do_the_same(kind: DocumentKind[Settings], document: StorePath) -> None:
    async def main() -> Settings:
        await kind.acreate(document, SOME)
        return await kind.aread(document)

    assert anyio.run(main) == SOME


def test_what_a_person_has_written_is_read(kind: DocumentKind[Settings], codec: str) -> None:
    assert kind.decode(STORED[codec]) == Settings(
        schema_version="1.0",
        label="Confocal",
        lamps=[Lamp("left", 1.5), Lamp("right")],
        limits={"a": 1, "b": 2},
        seen_at="2026-05-05T14:23:00Z",
    )


def test_an_update_keeps_comments_spelling_and_unknown_fields(
    kind: DocumentKind[Settings], codec: str, document: StorePath
) -> None:
    document.atomic_write(STORED[codec])

    def change(stored: Settings) -> Settings:
        stored.label = "Confocal 2"
        stored.lamps[1].power_mw = 9.25
        stored.limits["b"] = 3
        return stored

    kind.update(document, change, missing="raise", on_corrupt="raise")
    written = document.read_snapshot().data.decode()
    for kept in ("# Written by hand", "# do not touch", "# what people call it", "# the old one", "# milliwatts"):
        assert kept in written
    for kept in ("1.50", "0x1F", "# per day", "# unknown to the program", "B7", "2026-05-05T14:23:00Z"):
        assert kept in written
    assert kind.read(document) == Settings(
        schema_version="1.1",
        label="Confocal 2",
        lamps=[Lamp("left", 1.5), Lamp("right", 9.25)],
        limits={"a": 1, "b": 3},
        seen_at="2026-05-05T14:23:00Z",
    )


def test_items_come_and_go(kind: DocumentKind[Settings], codec: str, document: StorePath) -> None:
    document.atomic_write(STORED[codec])
    for lamps in ([Lamp("left", 1.5), Lamp("right"), Lamp("third")], [Lamp("left", 1.5)], [], [Lamp("new")]):
        value = Settings(label="Confocal", lamps=lamps, limits={"c": 1})
        assert kind.write(document, value) == value == kind.read(document)
    assert "# Written by hand" in document.read_snapshot().data.decode()


def test_a_byte_order_mark_is_skipped(kind: DocumentKind[Settings], codec: str) -> None:
    assert kind.decode(b"\xef\xbb\xbf" + STORED[codec]).label == "Confocal"


def test_another_major_is_refused_and_left(kind: DocumentKind[Settings], codec: str, document: StorePath) -> None:
    document.atomic_write(STORED[codec].replace(b'"1.0"', b'"2.0"'))
    with pytest.raises(SchemaMajorMismatchError):
        kind.write(document, SOME)
    assert document.read_snapshot().data == STORED[codec].replace(b'"1.0"', b'"2.0"')


def test_a_document_without_a_version_has_its_error(kind: DocumentKind[Settings], codec: str) -> None:
    with pytest.raises(SchemaVersionMissing):
        kind.decode(STORED[codec].replace(b"schema_version", b"version"))


def test_an_older_minor_is_migrated_and_its_comments_stay(codec: str, document: StorePath) -> None:
    def migration(stored: dict[str, Any]) -> dict[str, Any]:
        stored["label"] = stored["label"].upper()
        return stored

    kind = DocumentKind(Settings, "1.1", migrations={"1.0": migration}, codec=codec)  # type: ignore[arg-type]
    document.atomic_write(STORED[codec])
    assert kind.read(document).label == "CONFOCAL"
    kind.update(document, lambda stored: stored, missing="raise", on_corrupt="raise")
    written = document.read_snapshot().data
    assert b"CONFOCAL" in written
    assert b"# Written by hand" in written
    assert b"B7" in written


INVALID = {
    "yaml": [
        b"",
        b"- 1",
        b"a: [",
        b"a: 1\na: 2",
        b"1: a",
        b"[a]: b",
        b"a: &x [1]\nb: *x",
        b"a: !!python/object:os.system x",
        b"a: !!binary aGk=",
        b"a: .inf",
        b"a: .nan",
        b"---\na: 1\n---\nb: 2",
        b'a: "\xb5"',
        b"a: " + b"[" * 300 + b"]" * 300,
        b"a: " + b"[" * 5000 + b"]" * 5000,
        b"<<: {a: 1}",
    ],
    "toml": [b"a = ", b"a = 1\na = 2", b"a = inf", b"a = nan", b'a = "\xb5"', b"a = " + b"[" * 3000 + b"]" * 3000],
}
CASES = [(codec, data) for codec, each in INVALID.items() for data in each]


@pytest.mark.parametrize(("codec", "data"), CASES, ids=lambda value: repr(value)[:30])
def test_what_json_has_not_is_invalid(codec: str, data: bytes) -> None:
    with pytest.raises(DocumentInvalid):
        KINDS[codec].decode(data)


def test_a_corrupt_document_is_kept_beside(kind: DocumentKind[Settings], document: StorePath) -> None:
    document.atomic_write(b"label: [")
    assert kind.write(document, SOME) == SOME
    (copy,) = (key for key in document.store.list_keys() if key != document.key)
    assert document.store.read_snapshot(copy).data == b"label: ["


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
    )
    with pytest.raises(DocumentInvalid, match="alias"):
        KINDS["yaml"].decode(bomb.encode())


def test_toml_leaves_out_what_is_null(document: StorePath) -> None:
    KINDS["toml"].create(document, SOME)
    assert b"operator" not in document.read_snapshot().data
    assert KINDS["toml"].read(document).operator is None


def test_toml_refuses_a_null_that_would_be_read_as_something_else() -> None:
    class Odd(VersionedDocument, kw_only=True):
        schema_version: str = "1.0"
        operator: str | None = "nobody"
        names: list[str | None] = msgspec.field(default_factory=list)

    kind = DocumentKind(Odd, "1.0", codec="toml")
    with pytest.raises(DocumentInvalid, match="read as another"):
        kind.encode(Odd(operator=None))
    with pytest.raises(DocumentInvalid, match="null"):
        kind.encode(Odd(names=[None]))


TEXTS = [
    "1.0",
    "yes",
    "null",
    "2026-05-05",
    "~",
    " a",
    "a: b",
    "- a",
    "#",
    "'",
    '"',
    "\\",
    "a\nb",
    "",
    "µ",
    "\u2028",
    "0x1F",
]


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_every_text_stays_a_text(kind: DocumentKind[Settings], text: str) -> None:
    value = Settings(label=text, limits={text: 1} if text else {}, operator=text)
    data = kind.encode(value)
    assert kind.decode(data) == value
    assert kind.decode(kind.encode(value, data)) == value


@pytest.mark.parametrize(("codec", "module"), [("yaml", "ruamel.yaml"), ("toml", "tomlkit")])
def test_an_extra_that_is_missing_is_named(codec: Any, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"exlab_store.documents.{codec}_text", raising=False)
    with pytest.raises(ConfigError) as caught:
        DocumentKind(Settings, "1.1", codec=codec)
    assert caught.value.hint == f"pip install 'exlab-store[{codec}]'"
    assert module.partition(".")[0] in caught.value.message


def test_another_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="ini"):
        DocumentKind(Settings, "1.1", codec="ini")  # type: ignore[arg-type]


def test_json_is_what_it_was(document: StorePath) -> None:
    KINDS["json"].create(document, Settings(label="a"))
    assert document.read_snapshot().data == (
        b'{"schema_version":"1.1","label":"a","lamps":[],"limits":{},"operator":null,"seen_at":""}'
    )


@pytest.mark.parametrize("value", ["!!bool maybe", "!!int ''", "!!float ''"])
def test_a_tag_that_its_text_does_not_fit_is_invalid(value: str) -> None:
    with pytest.raises(DocumentInvalid, match="in line 3"):
        KINDS["yaml"].decode(f'schema_version: "1.1"\nlabel: a\non: {value}\n'.encode())


@pytest.mark.parametrize("time", ["2024-02-28", "2024-02-28 12:00:00Z", "2024-02-30", "2024-02-28 25:00:00"])
def test_a_time_stays_as_it_is_spelt_and_need_not_be_one(document: StorePath, time: str) -> None:
    document.atomic_write(f'schema_version: "1.1"\nlabel: a\nwhen: {time}  # by hand\n'.encode())
    KINDS["yaml"].update(document, lambda stored: msgspec.structs.replace(stored, label="b"))  # type: ignore[type-var]
    assert f"when: {time}  # by hand\n" in document.read_snapshot().data.decode()


class Unlike(VersionedDocument, eq=False):
    schema_version: str
    label: str


@pytest.mark.parametrize("codec", ["yaml", "toml"])
def test_structs_need_not_compare_by_what_is_in_them(codec: Any, document: StorePath) -> None:
    kind = DocumentKind(Unlike, "1.0", codec=codec)
    kind.write(document, Unlike("1.0", "a"))
    assert kind.read(document).label == "a"
