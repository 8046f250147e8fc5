"""Makes small apps without CrewAI, for tests of the deployment itself."""

from __future__ import annotations

import textwrap
from pathlib import Path

from crewlab import App


def write_app(folder: Path, body: str, name: str = "app") -> App:
    """Save a module and give the app."""
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(body), encoding="utf-8")
    return App.from_file(path)


ECHO = """
    def run(inputs):
        return f"Report on {inputs['company']}."
"""

# The head of an app that asks the model without CrewAI.
ASK = """
import json, os, urllib.request

def ask(company):
    body = {"model": "m", "messages": [{"role": "user", "content": company}]}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer local-x"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.load(opener.open(request))["choices"][0]["message"]["content"]
"""
