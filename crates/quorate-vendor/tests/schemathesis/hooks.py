"""A product file is text."""

import schemathesis

schemathesis.serializer.alias("application/toml", "text/plain")
