"""The part of JSON Schema (draft 2020-12) that the project's own schemas use. Unknown keywords are an error."""

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}
_KNOWN = {"$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required", "items", "enum",
          "additionalProperties", "minimum", "maxItems", "pattern"}


def problems(schema, value, root=None, path="$"):
    """Sentences about the parts of `value` that violate `schema`; empty: it is valid."""
    root = root or schema
    unknown = set(schema) - _KNOWN
    assert not unknown, f"the schema uses {unknown}"
    if "$ref" in schema:
        return problems(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root, path)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        fits = isinstance(value, int if kind == "integer" else (int, float)) and not isinstance(value, bool)
    else:
        fits = kind is None or isinstance(value, _TYPES[kind])
    if not fits:
        return [f"{path} is no {kind}: {value!r}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path} is none of {schema['enum']}: {value!r}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{path} is below {schema['minimum']}: {value!r}")
    if kind == "object":
        found += [f"{path} has no {name}" for name in schema.get("required", ()) if name not in value]
        for name, member in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            if inner is False:
                found.append(f"{path} has {name}, which the schema does not know")
            else:
                found += problems(inner, member, root, f"{path}.{name}")
    elif kind == "array":
        if len(value) > schema.get("maxItems", len(value)):
            found.append(f"{path} has {len(value)} items")
        for index, item in enumerate(value):
            found += problems(schema.get("items", {}), item, root, f"{path}[{index}]")
    return found
