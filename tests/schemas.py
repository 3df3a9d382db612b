"""What the OpenAPI of a server says of requests and answers: schemas without references, and bodies that they allow."""

from __future__ import annotations

from hypothesis import strategies as st

TEXTS = st.text(max_size=6) | st.sampled_from(["long", "7", " ", "\u202e", "x" * 3000])
MEMBERS = ["pairs", "query", "texts", "documents", "text_1", "inputs", "input", "top_n"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)


def resolved(schema, whole):
    """A schema with what it refers to in its place."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return resolved(whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]], whole)
        return {key: resolved(value, whole) for key, value in schema.items()}
    return [resolved(value, whole) for value in schema] if isinstance(schema, list) else schema


def valid(schema):
    """Values that a schema allows, of those that our bodies are made of."""
    for kind in ("anyOf", "oneOf"):
        if kind in schema:
            return st.one_of(*map(valid, schema[kind]))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return st.lists(valid(schema["items"]), min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 4))
    if kind == "object":
        own = {name: valid(part) for name, part in schema.get("properties", {}).items()}
        needed = {name: own.pop(name) for name in schema.get("required", [])}
        return st.fixed_dictionaries(needed, optional=own)
    if kind == "integer":
        return st.integers(schema.get("minimum", -3), schema.get("maximum", 10**6))
    return {"string": TEXTS, "boolean": st.booleans(), "null": st.none()}[kind]


def requests_of(whole):
    """(Path, method, body) for every operation: bodies as they must be, with one member changed, and of any other kind."""
    found = []
    for path, methods in whole["paths"].items():
        for method, told in methods.items():
            if "requestBody" not in told:
                found.append(st.tuples(st.just(path), st.just(method), st.none()))
                continue
            body = valid(resolved(told["requestBody"]["content"]["application/json"]["schema"], whole))
            names = TEXTS | st.sampled_from(MEMBERS)
            changed = st.builds(lambda good, name, other: {**good, name: other}, body, names, ANYTHING)
            found.append(st.tuples(st.just(path), st.just(method), body | changed | ANYTHING))
    return st.one_of(*found)
