"""An object that is made the fast way is the class's own."""

from dataclasses import fields

from pgrehearse.schema.schema_object import ObjectKind, SchemaObject, make_object


def test_an_object_made_the_fast_way_has_every_field() -> None:
    given = {
        "kind": ObjectKind.COLUMN, "name": "a", "relation": "public.t", "attributes": {"type": "integer"},
        "normal_forms": {"default": "x"}, "position": 2, "oid": 16384, "number": 3,
    }  # fmt: skip
    assert list(given) == [field.name for field in fields(SchemaObject)]
    made, own = make_object(*given.values()), SchemaObject(**given)  # type: ignore[arg-type]
    assert made == own
    assert [getattr(made, name) for name in given] == list(given.values())
