"""segkit: the helper package of the course on semantic segmentation with fully convolutional networks."""

import sys

# nbformat imports jsonschema, and that, where this package is installed, builds 35 parsers for formats (iri, iri-reference) that no
# schema of notebooks or results names: two to three seconds at the start of every command and in the first cell of every notebook
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

__version__ = "0.1.0"
