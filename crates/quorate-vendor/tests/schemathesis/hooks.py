"""What the description cannot say."""

import schemathesis

# A product file is text.
schemathesis.serializer.alias("application/toml", "text/plain")


@schemathesis.hook
def map_body(context, body):
    """To a schema 5.0 is an integer; programs write 5, and the interface reads nothing else as one."""
    if not isinstance(body, dict):
        return body
    whole = lambda value: isinstance(value, float) and value.is_integer()
    return {name: int(value) if whole(value) else value for name, value in body.items()}
