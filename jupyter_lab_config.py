"""JupyterLab's settings for the course: `jupyter-lab --config=jupyter_lab_config.py`."""

import os
from pathlib import Path

from traitlets.config import get_config

c = get_config()

# Open chapter 00, and show the chapters beside it.
c.LabApp.default_url = "/lab/tree/notebooks/00_start_here.ipynb"

# The course works offline: no question about news, no look for a newer version, no gallery.
# Without an address for news JupyterLab still asks whether to fetch them: page_config.json takes
# out the part that asks.
c.LabApp.app_settings_dir = str(Path(__file__).resolve().parent / "scripts" / "jupyterlab")
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.LanguageServerManager.autodetect = False

# JupyterLab refuses to run as root unless it is told to. In a container that is the usual user.
if hasattr(os, "geteuid") and os.geteuid() == 0:
    c.ServerApp.allow_root = True
