"""Runs a service with module globals of its own for each request.

The service's file is executed anew, into a module nobody else has: all that it makes at import is
made once a request.
"""

import importlib.util
import os


def run(inputs: dict) -> str:
    name = os.environ["SERVICE"]
    spec = importlib.util.spec_from_file_location(name, os.environ["SERVICE_FILE"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run(inputs)
